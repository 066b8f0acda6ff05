//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	63
#define SYS_write	64
#define SYS_exit_group	94

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	MOVV	$launcher<>(SB), R12
	MOVV	R12, ret+0(FP)
	RET

// R23 dataBase, R24 the step, R25 argv, R26 envp. The kernel clobbers R4 and R12 to R20.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVV	R3, R12			// argc, argv..., 0, envp..., 0
	ADDV	$8, R12, R25
	MOVV	(R12), R13
	SLLV	$3, R13, R13
	ADDV	$8, R25, R26
	ADDV	R13, R26
	MOVV	$const_dataBase, R23
	MOVV	$const_StatusFD, R12
	MOVV	R12, header_status(R23)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more,
	// those are for Wait.
	MOVV	R23, R5
	MOVV	$const_wordSize, R6
read:
	MOVV	$SYS_read, R11
	MOVV	$const_ControlFD, R4
	SYSCALL
	BLEZ	R4, unread
	ADDV	R4, R5
	SUBV	R4, R6
	BNE	R6, read
	MOVV	header_end(R23), R12
	SUBV	R5, R12, R6
	BNE	R6, read

	MOVV	R25, header_argv(R23)
	MOVV	R26, header_envp(R23)
	ADDV	$header__size, R23, R24
next:
	MOVV	header_endSteps(R23), R12
	BEQ	R12, R24, done
	MOVV	step_when(R24), R12
	MOVV	(R12), R12
	BEQ	R12, skip
	MOVV	(step_args+0)(R24), R4
	MOVV	(R4), R4
	MOVV	(step_args+8)(R24), R5
	MOVV	(R5), R5
	MOVV	(step_args+16)(R24), R6
	MOVV	(R6), R6
	MOVV	(step_args+24)(R24), R7
	MOVV	(R7), R7
	MOVV	(step_args+32)(R24), R8
	MOVV	(R8), R8
	MOVV	(step_args+40)(R24), R9
	MOVV	(R9), R9
	MOVV	step_nr(R24), R11
	SYSCALL
	MOVV	step_low(R24), R12
	SUBV	R12, R4, R12
	MOVV	step_span(R24), R13
	BGEU	R13, R12, ok
	MOVV	(step_tolerate+0)(R24), R12
	BEQ	R12, R4, ok
	MOVV	(step_tolerate+8)(R24), R12
	BNE	R12, R4, fail
ok:
	MOVV	step_out(R24), R12
	MOVV	R4, (R12)
skip:
	ADDV	$step__size, R24
	JMP	next

unread:
	MOVV	R23, R24		// the list itself has failed
fail:
	MOVV	R24, (header_record+0)(R23)
	MOVV	R4, (header_record+8)(R23)
	MOVV	$SYS_write, R11
	MOVV	header_status(R23), R4
	ADDV	$header_record, R23, R5
	MOVV	$const_recordSize, R6
	SYSCALL
	MOVV	$127, R4
	JMP	exit
done:
	MOVV	$0, R4
exit:
	MOVV	$SYS_exit_group, R11
	SYSCALL
	JMP	exit

	WORD	$const_endMark1
	WORD	$const_endMark2
