//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	3
#define SYS_write	4
#define SYS_exit_group	248

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	MOVD	$launcher<>(SB), R1
	MOVD	R1, ret+0(FP)
	RET

// R8 dataBase, R9 the step; R5 argv and R6 envp until the list is read. The kernel clobbers R2
// alone.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVD	R15, R7			// argc, argv..., 0, envp..., 0
	ADD	$8, R7, R5
	MOVD	(R7), R8
	SLD	$3, R8, R8
	ADD	$8, R5, R6
	ADD	R8, R6
	MOVD	$const_dataBase, R8
	MOVD	$const_StatusFD, R7
	MOVD	R7, header_status(R8)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more,
	// those are for Wait.
	MOVD	R8, R3
	MOVD	$const_wordSize, R4
read:
	MOVD	$SYS_read, R1
	MOVD	$const_ControlFD, R2
	SYSCALL
	CMPBLE	R2, $0, unread
	ADD	R2, R3
	SUB	R2, R4
	CMPBNE	R4, $0, read
	MOVD	header_end(R8), R7
	SUB	R3, R7, R4
	CMPBNE	R4, $0, read

	MOVD	R5, header_argv(R8)
	MOVD	R6, header_envp(R8)
	ADD	$header__size, R8, R9
next:
	MOVD	header_endSteps(R8), R12
	CMPBEQ	R12, R9, done
	MOVD	step_when(R9), R12
	MOVD	(R12), R12
	CMPBEQ	R12, $0, skip
	MOVD	(step_args+0)(R9), R2
	MOVD	(R2), R2
	MOVD	(step_args+8)(R9), R3
	MOVD	(R3), R3
	MOVD	(step_args+16)(R9), R4
	MOVD	(R4), R4
	MOVD	(step_args+24)(R9), R5
	MOVD	(R5), R5
	MOVD	(step_args+32)(R9), R6
	MOVD	(R6), R6
	MOVD	(step_args+40)(R9), R7
	MOVD	(R7), R7
	MOVD	step_nr(R9), R1
	SYSCALL
	MOVD	step_low(R9), R12
	SUB	R12, R2, R12
	MOVD	step_span(R9), R1
	CMPUBLE	R12, R1, ok
	MOVD	(step_tolerate+0)(R9), R12
	CMPBEQ	R12, R2, ok
	MOVD	(step_tolerate+8)(R9), R12
	CMPBNE	R12, R2, fail
ok:
	MOVD	step_out(R9), R12
	MOVD	R2, (R12)
skip:
	ADD	$step__size, R9
	BR	next

unread:
	MOVD	R8, R9			// the list itself has failed
fail:
	MOVD	R9, (header_record+0)(R8)
	MOVD	R2, (header_record+8)(R8)
	MOVD	$SYS_write, R1
	MOVD	header_status(R8), R2
	ADD	$header_record, R8, R3
	MOVD	$const_recordSize, R4
	SYSCALL
	MOVD	$127, R2
	BR	exit
done:
	MOVD	$0, R2
exit:
	MOVD	$SYS_exit_group, R1
	SYSCALL
	BR	exit

	WORD	$const_endMark1
	WORD	$const_endMark2
