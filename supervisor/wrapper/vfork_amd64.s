#include "textflag.h"

// func vfork(trap, a1, a2, a3 uintptr) (r1 uintptr, errno uintptr)
//
// The child returns first, and what it calls then overwrites the return
// address on the stack that the parent returns by; so that is in a register
// meanwhile, of which each process has its own.
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-48
	MOVQ	trap+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	MOVQ	a3+24(FP), DX
	XORL	R10, R10
	XORL	R8, R8
	XORL	R9, R9
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	CMPQ	AX, $0xfffffffffffff001
	JCS	ok
	NEGQ	AX
	MOVQ	$0, r1+32(FP)
	MOVQ	AX, errno+40(FP)
	RET
ok:
	MOVQ	AX, r1+32(FP)
	MOVQ	$0, errno+40(FP)
	RET
