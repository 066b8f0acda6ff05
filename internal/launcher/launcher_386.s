//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	3
#define SYS_write	4
#define SYS_exit_group	252

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-4
	LEAL	launcher<>(SB), AX
	MOVL	AX, ret+0(FP)
	RET

// SI argv and DI envp until the list is read; BP dataBase, then the step. The kernel clobbers AX
// alone. A call takes every register, so where the step is stays in the record.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	SP, AX			// argc, argv..., 0, envp..., 0
	LEAL	4(AX), SI
	MOVL	(AX), CX
	LEAL	4(SI)(CX*4), DI
	MOVL	$const_dataBase, BP
	MOVL	$const_StatusFD, header_status(BP)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more,
	// those are for Wait.
	MOVL	$const_ControlFD, BX
	MOVL	BP, CX
	MOVL	$const_wordSize, DX
read:
	MOVL	$SYS_read, AX
	INT	$0x80
	TESTL	AX, AX
	JLE	unread
	ADDL	AX, CX
	SUBL	AX, DX
	JNE	read
	MOVL	header_end(BP), DX
	SUBL	CX, DX
	JNE	read

	MOVL	SI, header_argv(BP)
	MOVL	DI, header_envp(BP)
	ADDL	$header__size, BP
next:
	MOVL	$const_dataBase, AX
	CMPL	BP, header_endSteps(AX)
	JEQ	done
	MOVL	BP, (header_record+0)(AX)
	MOVL	step_when(BP), AX
	CMPL	(AX), $0
	JEQ	skip
	MOVL	(step_args+0)(BP), BX
	MOVL	(BX), BX
	MOVL	(step_args+4)(BP), CX
	MOVL	(CX), CX
	MOVL	(step_args+8)(BP), DX
	MOVL	(DX), DX
	MOVL	(step_args+12)(BP), SI
	MOVL	(SI), SI
	MOVL	(step_args+16)(BP), DI
	MOVL	(DI), DI
	MOVL	step_nr(BP), AX
	MOVL	(step_args+20)(BP), BP
	MOVL	(BP), BP
	INT	$0x80
	MOVL	$const_dataBase, CX
	MOVL	(header_record+0)(CX), BP
	MOVL	AX, CX
	SUBL	step_low(BP), CX
	CMPL	CX, step_span(BP)
	JLS	ok
	CMPL	AX, (step_tolerate+0)(BP)
	JEQ	ok
	CMPL	AX, (step_tolerate+4)(BP)
	JNE	fail
ok:
	MOVL	step_out(BP), CX
	MOVL	AX, (CX)
skip:
	ADDL	$step__size, BP
	JMP	next

unread:
	MOVL	$const_dataBase, BP	// the list itself has failed
fail:
	MOVL	$const_dataBase, CX
	MOVL	BP, (header_record+0)(CX)
	MOVL	AX, (header_record+4)(CX)
	MOVL	header_status(CX), BX
	ADDL	$header_record, CX
	MOVL	$const_recordSize, DX
	MOVL	$SYS_write, AX
	INT	$0x80
	MOVL	$127, BX
	JMP	exit
done:
	XORL	BX, BX
exit:
	MOVL	$SYS_exit_group, AX
	INT	$0x80
	JMP	exit

	LONG	$const_endMark1
	LONG	$const_endMark2
