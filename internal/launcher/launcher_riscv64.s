//go:build linux

// text.go says what this is for, and what it may not do.

#include "go_asm.h"
#include "textflag.h"

#define SYS_read	63
#define SYS_write	64
#define SYS_exit_group	94

// func textStart() unsafe.Pointer
TEXT ·textStart(SB), NOSPLIT, $0-8
	MOV	$launcher<>(SB), T0
	MOV	T0, ret+0(FP)
	RET

// S0 dataBase, S1 the step, S2 argv, S3 envp. The kernel clobbers A0 alone.
TEXT launcher<>(SB), NOSPLIT|NOFRAME, $0-0
	MOV	X2, T0			// argc, argv..., 0, envp..., 0
	ADD	$8, T0, S2
	MOV	(T0), T1
	SLLI	$3, T1, T1
	ADD	$8, S2, S3
	ADD	T1, S3, S3
	MOV	$const_dataBase, S0
	MOV	$const_StatusFD, T0
	MOV	T0, header_status(S0)

	// Read the list: its first word, which says where it ends, then the rest. Not a byte more,
	// those are for Wait.
	MOV	S0, A1
	MOV	$const_wordSize, A2
read:
	MOV	$SYS_read, A7
	MOV	$const_ControlFD, A0
	ECALL
	BLEZ	A0, unread
	ADD	A0, A1, A1
	SUB	A0, A2, A2
	BNEZ	A2, read
	MOV	header_end(S0), T0
	SUB	A1, T0, A2
	BNEZ	A2, read

	MOV	S2, header_argv(S0)
	MOV	S3, header_envp(S0)
	ADD	$header__size, S0, S1
next:
	MOV	header_endSteps(S0), T0
	BEQ	T0, S1, done
	MOV	step_when(S1), T0
	MOV	(T0), T0
	BEQZ	T0, skip
	MOV	(step_args+0)(S1), A0
	MOV	(A0), A0
	MOV	(step_args+8)(S1), A1
	MOV	(A1), A1
	MOV	(step_args+16)(S1), A2
	MOV	(A2), A2
	MOV	(step_args+24)(S1), A3
	MOV	(A3), A3
	MOV	(step_args+32)(S1), A4
	MOV	(A4), A4
	MOV	(step_args+40)(S1), A5
	MOV	(A5), A5
	MOV	step_nr(S1), A7
	ECALL
	MOV	step_low(S1), T0
	SUB	T0, A0, T0
	MOV	step_span(S1), T1
	BGEU	T1, T0, ok
	MOV	(step_tolerate+0)(S1), T0
	BEQ	T0, A0, ok
	MOV	(step_tolerate+8)(S1), T0
	BNE	T0, A0, fail
ok:
	MOV	step_out(S1), T0
	MOV	A0, (T0)
skip:
	ADD	$step__size, S1, S1
	JMP	next

unread:
	MOV	S0, S1			// the list itself has failed
fail:
	MOV	S1, (header_record+0)(S0)
	MOV	A0, (header_record+8)(S0)
	MOV	$SYS_write, A7
	MOV	header_status(S0), A0
	ADD	$header_record, S0, A1
	MOV	$const_recordSize, A2
	ECALL
	MOV	$127, A0
	JMP	exit
done:
	MOV	$0, A0
exit:
	MOV	$SYS_exit_group, A7
	ECALL
	JMP	exit

	WORD	$const_endMark1
	WORD	$const_endMark2
