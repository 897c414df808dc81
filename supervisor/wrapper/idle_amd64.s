//go:build idle

#include "textflag.h"

// func entry()
//
// R12 keeps the stack as the kernel made it: argc, the arguments, 0, the environment, 0.
TEXT ·entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	SP, R12
	MOVL	$157, AX // prctl(PR_SET_NAME, argv[0]), which is not "exe"
	MOVL	$15, DI
	MOVQ	8(R12), SI
	SYSCALL
	CMPQ	0(R12), $3
	JNE	begin
	MOVQ	16(R12), AX
	CMPL	0(AX), $0x656c6469 // idle
	JNE	begin
	CMPB	4(AX), $0
	JNE	begin

	// A child that ended before this program began: its signal may have gone to a thread
	// of the Go runtime. waitid(P_ALL, 0, &info, WEXITED|WNOHANG|WNOWAIT, 0)
	SUBQ	$2048, SP
	MOVQ	$0, 16(SP)
	MOVL	$247, AX
	XORL	DI, DI
	XORL	SI, SI
	MOVQ	SP, DX
	MOVL	$0x01000005, R10
	XORL	R8, R8
	SYSCALL
	CMPL	16(SP), $0
	JNE	wake

	MOVQ	24(R12), AX
	ADDQ	$2, AX
	XORL	SI, SI
descriptor:
	MOVBLZX	(AX), CX
	SUBL	$'0', CX
	JLT	poll
	MOVL	CX, 0(SP)(SI*8)
	MOVL	$1, 4(SP)(SI*8) // POLLIN
	INCQ	AX
	INCQ	SI
	JMP	descriptor
poll:
	MOVL	$271, AX // ppoll(SP, SI, 0, 0, 8)
	MOVQ	SP, DI
	XORL	DX, DX
	XORL	R10, R10
	MOVL	$8, R8
	SYSCALL

wake:
	MOVQ	24(R12), R14
reserve: // what R14 says; then exec, if R12 has the arguments of the idle stage
	MOVBLZX	1(R14), SI
	SUBL	$'0', SI
	SHLL	$22, SI
	MOVL	$9, AX // mmap(0, SI, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)
	XORL	DI, DI
	MOVL	$3, DX
	MOVL	$0x22, R10
	MOVQ	$-1, R8
	XORL	R9, R9
	SYSCALL
	CMPQ	AX, $-12 // ENOMEM
	JEQ	pause
	MOVQ	AX, DI // munmap(AX, SI)
	MOVL	$11, AX
	SYSCALL

	MOVBLZX	0(R14), R13
	SUBL	$'0', R13
threads:
	DECL	R13
	JLT	reserved
	MOVL	$56, AX // clone(CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM, 0, 0, 0, 0)
	MOVL	$0x50f00, DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	TESTQ	AX, AX
	JLT	pause
	JNE	threads
	// A thread. It must not use the stack. If there is none after it, it ends before that is
	// tried again, so that two wrappers do not wait for each other's threads.
	MOVL	$35, AX // nanosleep(threadPause, 0)
	LEAQ	·threadPause(SB), DI
	XORL	SI, SI
	SYSCALL
	MOVL	$60, AX // exit(0)
	XORL	DI, DI
	SYSCALL

reserved:
	LEAQ	·forRuntime(SB), AX
	CMPQ	AX, R14
	JEQ	awake
	MOVQ	$0x65732f636f72702f, AX // /proc/self/exe
	MOVQ	AX, 0(SP)
	MOVQ	$0x006578652f666c, AX
	MOVQ	AX, 8(SP)
	MOVQ	$0, 16(R12) // argv[1]
	MOVL	$59, AX // execve(SP, argv, envp)
	MOVQ	SP, DI
	LEAQ	8(R12), SI
	LEAQ	40(R12), DX
	SYSCALL
pause:
	MOVQ	$0, 0(SP)
	MOVQ	$100000000, 8(SP)
	MOVL	$35, AX // nanosleep(SP, 0)
	MOVQ	SP, DI
	XORL	SI, SI
	SYSCALL
	JMP	reserve

	// The early stage: a program in Go without its runtime, see early.go.
begin:
	MOVQ	R12, ·initial(SB)
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
	MOVQ	·initial(SB), R12
	MOVQ	R12, SP
	SUBQ	$2048, SP
	LEAQ	·forRuntime(SB), R14
	CMPQ	DI, $-2 // wakeReserve
	JEQ	reserve
	JLT	awake
	CMPQ	DI, $-1 // wake
	JEQ	awake
	MOVL	$231, AX // exit_group(DI)
	SYSCALL

awake:
	MOVQ	·initial(SB), SP
	MOVL	$1, runtime·sigtable+(3*24)(SB) // QUIT: _SigNotify
	MOVL	$1, runtime·sigtable+(15*24)(SB) // TERM
	JMP	_rt0_amd64_linux(SB)
