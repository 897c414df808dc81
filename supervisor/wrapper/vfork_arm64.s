#include "textflag.h"

// func vfork(trap, a1, a2, a3 uintptr) (r1 uintptr, errno uintptr)
//
// The return address is in the link register, of which each process has its
// own; nothing of this function is on the stack.
TEXT ·vfork(SB),NOSPLIT,$0-48
	MOVD	trap+0(FP), R8
	MOVD	a1+8(FP), R0
	MOVD	a2+16(FP), R1
	MOVD	a3+24(FP), R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD	ZR, R5
	SVC
	CMN	$4095, R0
	BCC	ok
	NEG	R0, R0
	MOVD	ZR, r1+32(FP)
	MOVD	R0, errno+40(FP)
	RET
ok:
	MOVD	R0, r1+32(FP)
	MOVD	ZR, errno+40(FP)
	RET
