//go:build early

#include "textflag.h"

// func entry()
TEXT ·entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	SP, ·initial(SB)
	LEAQ	·noRuntime(SB), AX
	MOVQ	AX, ·tls(SB)
	MOVL	$158, AX // arch_prctl(ARCH_SET_FS, tls+8): g is in the word before that
	MOVL	$0x1002, DI
	LEAQ	·tls+8(SB), SI
	SYSCALL
	ANDQ	$~15, SP
	SUBQ	$16, SP
	CALL	·early(SB)
	MOVQ	0(SP), DI
	CMPQ	DI, $-1 // leave
	JEQ	ordinary
	MOVL	$231, AX // exit_group(DI)
	SYSCALL

ordinary:
	MOVQ	·initial(SB), SP
	JMP	_rt0_amd64_linux(SB)
