//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	5000
#define SYS_write	5001
#define SYS_exit_group	5205

// An error is a positive number with R7 set.
#define CALL	\
	SYSCALL;	\
	BEQ	R7, 2(PC);	\
	SUBVU	R2, R0, R2

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	MOVV	$launcher<>(SB), R1
	MOVV	R1, ret+0(FP)
	RET

// R16 dataBase, R17 the step, R18 argv, R19 envp. The kernel may clobber R1 to R15, R24 and R25,
// and keeps R16 to R22. Behind each branch the assembler puts a no-operation.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVV	R29, R12		// argc, argv..., 0, envp..., 0
	ADDVU	$8, R12, R18
	MOVV	(R12), R13
	SLLV	$3, R13, R13
	ADDVU	$8, R18, R19
	ADDVU	R13, R19
	MOVV	$const_dataBase, R16
	MOVV	$const_StatusFD, R12
	MOVV	R12, header_status(R16)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more,
	// those are for Wait.
	MOVV	R16, R20
	MOVV	$const_wordSize, R21
read:
	MOVV	$SYS_read, R2
	MOVV	$const_ControlFD, R4
	MOVV	R20, R5
	MOVV	R21, R6
	CALL
	BLEZ	R2, unread
	ADDVU	R2, R20
	SUBVU	R2, R21
	BNE	R21, read
	MOVV	header_end(R16), R12
	SUBVU	R20, R12, R21
	BNE	R21, read

	MOVV	R18, header_argv(R16)
	MOVV	R19, header_envp(R16)
	ADDVU	$header__size, R16, R17
next:
	MOVV	header_endSteps(R16), R12
	BEQ	R12, R17, done
	MOVV	step_when(R17), R12
	MOVV	(R12), R12
	BEQ	R12, skip
	MOVV	(step_args+0)(R17), R4
	MOVV	(R4), R4
	MOVV	(step_args+8)(R17), R5
	MOVV	(R5), R5
	MOVV	(step_args+16)(R17), R6
	MOVV	(R6), R6
	MOVV	(step_args+24)(R17), R7
	MOVV	(R7), R7
	MOVV	(step_args+32)(R17), R8
	MOVV	(R8), R8
	MOVV	(step_args+40)(R17), R9
	MOVV	(R9), R9
	MOVV	step_nr(R17), R2
	CALL
	MOVV	step_low(R17), R12
	SUBVU	R12, R2, R12
	MOVV	step_span(R17), R13
	SGTU	R12, R13, R12
	BEQ	R12, ok
	MOVV	(step_tolerate+0)(R17), R12
	BEQ	R12, R2, ok
	MOVV	(step_tolerate+8)(R17), R12
	BNE	R12, R2, fail
ok:
	MOVV	step_out(R17), R12
	MOVV	R2, (R12)
skip:
	ADDVU	$step__size, R17
	JMP	next

unread:
	MOVV	R16, R17		// the list itself has failed
fail:
	MOVV	R17, (header_record+0)(R16)
	MOVV	R2, (header_record+8)(R16)
	MOVV	$SYS_write, R2
	MOVV	header_status(R16), R4
	ADDVU	$header_record, R16, R5
	MOVV	$const_recordSize, R6
	SYSCALL
	MOVV	$127, R4
	JMP	exit
done:
	MOVV	$0, R4
exit:
	MOVV	$SYS_exit_group, R2
	SYSCALL
	JMP	exit

	WORD	$const_endMark1
	WORD	$const_endMark2
