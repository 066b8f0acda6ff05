//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	3
#define SYS_write	4
#define SYS_exit_group	234

// An error is a positive number with the summary overflow bit.
#define CALL	\
	SYSCALL;	\
	BVC	2(PC);	\
	NEG	R3, R3

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	MOVD	$launcher<>(SB), R3
	MOVD	R3, ret+0(FP)
	RET

// R14 dataBase, R15 the step, R16 argv, R17 envp. The kernel may clobber R0 and R3 to R12, and
// keeps R14 to R29. R0 is not the zero that Go code has in it.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVD	R1, R20			// argc, argv..., 0, envp..., 0
	ADD	$8, R20, R16
	MOVD	(R20), R21
	SLD	$3, R21, R21
	ADD	$8, R16, R17
	ADD	R21, R17
	MOVD	$const_dataBase, R14
	MOVD	$const_StatusFD, R20
	MOVD	R20, header_status(R14)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more,
	// those are for Wait.
	MOVD	R14, R18
	MOVD	$const_wordSize, R19
read:
	MOVD	$SYS_read, R0
	MOVD	$const_ControlFD, R3
	MOVD	R18, R4
	MOVD	R19, R5
	CALL
	CMP	R3, $0
	BLE	unread
	ADD	R3, R18
	SUB	R3, R19
	CMP	R19, $0
	BNE	read
	MOVD	header_end(R14), R20
	SUB	R18, R20, R19
	CMP	R19, $0
	BNE	read

	MOVD	R16, header_argv(R14)
	MOVD	R17, header_envp(R14)
	ADD	$header__size, R14, R15
next:
	MOVD	header_endSteps(R14), R20
	CMP	R20, R15
	BEQ	done
	MOVD	step_when(R15), R20
	MOVD	(R20), R20
	CMP	R20, $0
	BEQ	skip
	MOVD	(step_args+0)(R15), R3
	MOVD	(R3), R3
	MOVD	(step_args+8)(R15), R4
	MOVD	(R4), R4
	MOVD	(step_args+16)(R15), R5
	MOVD	(R5), R5
	MOVD	(step_args+24)(R15), R6
	MOVD	(R6), R6
	MOVD	(step_args+32)(R15), R7
	MOVD	(R7), R7
	MOVD	(step_args+40)(R15), R8
	MOVD	(R8), R8
	MOVD	step_nr(R15), R0
	CALL
	MOVD	step_low(R15), R20
	SUB	R20, R3, R20
	MOVD	step_span(R15), R21
	CMPU	R20, R21
	BLE	ok
	MOVD	(step_tolerate+0)(R15), R20
	CMP	R20, R3
	BEQ	ok
	MOVD	(step_tolerate+8)(R15), R20
	CMP	R20, R3
	BNE	fail
ok:
	MOVD	step_out(R15), R20
	MOVD	R3, (R20)
skip:
	ADD	$step__size, R15
	BR	next

unread:
	MOVD	R14, R15		// the list itself has failed
fail:
	MOVD	R15, (header_record+0)(R14)
	MOVD	R3, (header_record+8)(R14)
	MOVD	$SYS_write, R0
	MOVD	header_status(R14), R3
	ADD	$header_record, R14, R4
	MOVD	$const_recordSize, R5
	SYSCALL
	MOVD	$127, R3
	BR	exit
done:
	MOVD	$0, R3
exit:
	MOVD	$SYS_exit_group, R0
	SYSCALL
	BR	exit

	WORD	$const_endMark1
	WORD	$const_endMark2
