//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	3
#define SYS_write	4
#define SYS_exit_group	248

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-4
	MOVW	$launcher<>(SB), R0
	MOVW	R0, ret+0(FP)
	RET

// R8 dataBase, R9 the step; R3 argv and R4 envp until the list is read. The kernel clobbers R0
// alone.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVW	R13, R6			// argc, argv..., 0, envp..., 0
	ADD	$4, R6, R3
	MOVW	(R6), R5
	ADD	$4, R3, R4
	ADD	R5<<2, R4, R4
	MOVW	$const_dataBase, R8
	MOVW	$const_StatusFD, R6
	MOVW	R6, header_status(R8)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more,
	// those are for Wait.
	MOVW	R8, R1
	MOVW	$const_wordSize, R2
read:
	MOVW	$SYS_read, R7
	MOVW	$const_ControlFD, R0
	SWI	$0
	CMP	$0, R0
	BLE	unread
	ADD	R0, R1
	SUB.S	R0, R2
	BNE	read
	MOVW	header_end(R8), R6
	SUB.S	R1, R6, R2
	BNE	read

	MOVW	R3, header_argv(R8)
	MOVW	R4, header_envp(R8)
	ADD	$header__size, R8, R9
next:
	MOVW	header_endSteps(R8), R6
	CMP	R6, R9
	BEQ	done
	MOVW	step_when(R9), R6
	MOVW	(R6), R6
	CMP	$0, R6
	BEQ	skip
	MOVW	(step_args+0)(R9), R0
	MOVW	(R0), R0
	MOVW	(step_args+4)(R9), R1
	MOVW	(R1), R1
	MOVW	(step_args+8)(R9), R2
	MOVW	(R2), R2
	MOVW	(step_args+12)(R9), R3
	MOVW	(R3), R3
	MOVW	(step_args+16)(R9), R4
	MOVW	(R4), R4
	MOVW	(step_args+20)(R9), R5
	MOVW	(R5), R5
	MOVW	step_nr(R9), R7
	SWI	$0
	MOVW	step_low(R9), R6
	SUB	R6, R0, R6
	MOVW	step_span(R9), R7
	CMP	R7, R6
	BLS	ok
	MOVW	(step_tolerate+0)(R9), R6
	CMP	R6, R0
	BEQ	ok
	MOVW	(step_tolerate+4)(R9), R6
	CMP	R6, R0
	BNE	fail
ok:
	MOVW	step_out(R9), R6
	MOVW	R0, (R6)
skip:
	ADD	$step__size, R9
	B	next

unread:
	MOVW	R8, R9			// the list itself has failed
fail:
	MOVW	R9, (header_record+0)(R8)
	MOVW	R0, (header_record+4)(R8)
	MOVW	$SYS_write, R7
	MOVW	header_status(R8), R0
	ADD	$header_record, R8, R1
	MOVW	$const_recordSize, R2
	SWI	$0
	MOVW	$127, R0
	B	exit
done:
	MOVW	$0, R0
exit:
	MOVW	$SYS_exit_group, R7
	SWI	$0
	B	exit

	WORD	$const_endMark1
	WORD	$const_endMark2
