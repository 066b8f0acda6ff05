//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	63
#define SYS_write	64
#define SYS_exit_group	94

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	MOVD	$launcher<>(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// R19 dataBase, R20 the step, R21 argv, R22 envp. The kernel clobbers R0 alone.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVD	RSP, R9			// argc, argv..., 0, envp..., 0
	ADD	$8, R9, R21
	MOVD	(R9), R10
	ADD	$8, R21, R22
	ADD	R10<<3, R22, R22
	MOVD	$const_dataBase, R19
	MOVD	$const_StatusFD, R9
	MOVD	R9, header_status(R19)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more, those are for Wait.
	MOVD	R19, R20
	ADD	$8, R19, R23
read:
	SUBS	R20, R23, R2
	BEQ	have
	MOVD	$SYS_read, R8
	MOVD	$const_ControlFD, R0
	MOVD	R20, R1
	SVC
	CMP	$0, R0
	BLE	unread
	ADD	R0, R20
	B	read
have:
	MOVD	R23, R9
	MOVD	header_end(R19), R23
	CMP	R9, R23
	BNE	read

	MOVD	R21, header_argv(R19)
	MOVD	R22, header_envp(R19)
	ADD	$header__size, R19, R20
next:
	MOVD	header_endSteps(R19), R9
	CMP	R9, R20
	BEQ	done
	MOVD	step_when(R20), R9
	MOVD	(R9), R9
	CBZ	R9, skip
	MOVD	(step_args+0)(R20), R0
	MOVD	(R0), R0
	MOVD	(step_args+8)(R20), R1
	MOVD	(R1), R1
	MOVD	(step_args+16)(R20), R2
	MOVD	(R2), R2
	MOVD	(step_args+24)(R20), R3
	MOVD	(R3), R3
	MOVD	(step_args+32)(R20), R4
	MOVD	(R4), R4
	MOVD	(step_args+40)(R20), R5
	MOVD	(R5), R5
	MOVD	step_nr(R20), R8
	SVC
	MOVD	step_low(R20), R9
	SUB	R9, R0, R9
	MOVD	step_span(R20), R10
	CMP	R10, R9
	BLS	ok
	MOVD	(step_tolerate+0)(R20), R9
	CMP	R9, R0
	BEQ	ok
	MOVD	(step_tolerate+8)(R20), R9
	CMP	R9, R0
	BNE	fail
ok:
	MOVD	step_out(R20), R9
	MOVD	R0, (R9)
skip:
	ADD	$step__size, R20
	B	next

unread:
	MOVD	R19, R20		// the list itself has failed
fail:
	MOVD	R20, (header_record+0)(R19)
	MOVD	R0, (header_record+8)(R19)
	MOVD	$SYS_write, R8
	MOVD	header_status(R19), R0
	ADD	$header_record, R19, R1
	MOVD	$const_recordSize, R2
	SVC
	MOVD	$127, R0
	B	exit
done:
	MOVD	$0, R0
exit:
	MOVD	$SYS_exit_group, R8
	SVC
	B	exit

	WORD	$const_endMark1
	WORD	$const_endMark2
