//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	0
#define SYS_write	1
#define SYS_exit_group	231

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	LEAQ	launcher<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// R14 dataBase, BX the step, R12 argv, R13 envp. The kernel clobbers AX, CX and R11.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	SP, AX			// argc, argv..., 0, envp..., 0
	LEAQ	8(AX), R12
	MOVQ	(AX), CX
	LEAQ	8(R12)(CX*8), R13
	MOVL	$const_dataBase, R14
	MOVQ	$const_StatusFD, header_status(R14)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more, those are for Wait.
	MOVQ	R14, BX
	LEAQ	8(R14), R10
read:
	MOVQ	R10, DX
	SUBQ	BX, DX
	JEQ	have
	MOVL	$SYS_read, AX
	MOVL	$const_ControlFD, DI
	MOVQ	BX, SI
	SYSCALL
	TESTQ	AX, AX
	JLE	unread
	ADDQ	AX, BX
	JMP	read
have:
	CMPQ	R10, header_end(R14)
	MOVQ	header_end(R14), R10
	JNE	read

	MOVQ	R12, header_argv(R14)
	MOVQ	R13, header_envp(R14)
	LEAQ	header__size(R14), BX
next:
	CMPQ	BX, header_endSteps(R14)
	JEQ	done
	MOVQ	step_when(BX), AX
	CMPQ	(AX), $0
	JEQ	skip
	MOVQ	(step_args+0)(BX), DI
	MOVQ	(DI), DI
	MOVQ	(step_args+8)(BX), SI
	MOVQ	(SI), SI
	MOVQ	(step_args+16)(BX), DX
	MOVQ	(DX), DX
	MOVQ	(step_args+24)(BX), R10
	MOVQ	(R10), R10
	MOVQ	(step_args+32)(BX), R8
	MOVQ	(R8), R8
	MOVQ	(step_args+40)(BX), R9
	MOVQ	(R9), R9
	MOVQ	step_nr(BX), AX
	SYSCALL
	MOVQ	AX, CX
	SUBQ	step_low(BX), CX
	CMPQ	CX, step_span(BX)
	JLS	ok
	CMPQ	AX, (step_tolerate+0)(BX)
	JEQ	ok
	CMPQ	AX, (step_tolerate+8)(BX)
	JNE	fail
ok:
	MOVQ	step_out(BX), CX
	MOVQ	AX, (CX)
skip:
	ADDQ	$step__size, BX
	JMP	next

unread:
	MOVQ	R14, BX			// the list itself has failed
fail:
	MOVQ	BX, (header_record+0)(R14)
	MOVQ	AX, (header_record+8)(R14)
	MOVL	$SYS_write, AX
	MOVQ	header_status(R14), DI
	LEAQ	header_record(R14), SI
	MOVL	$const_recordSize, DX
	SYSCALL
	MOVL	$127, DI
	JMP	exit
done:
	XORL	DI, DI
exit:
	MOVL	$SYS_exit_group, AX
	SYSCALL
	JMP	exit

	LONG	$const_endMark1
	LONG	$const_endMark2
