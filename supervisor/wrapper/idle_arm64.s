//go:build idle

#include "textflag.h"

// func entry()
//
// R19 keeps the stack as the kernel made it: argc, the arguments, 0, the environment, 0.
TEXT ·entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	RSP, R19
	MOVD	$167, R8 // prctl(PR_SET_NAME, argv[0]), which is not "exe"
	MOVD	$15, R0
	MOVD	8(R19), R1
	SVC
	MOVD	0(R19), R0
	CMP	$3, R0
	BNE	begin
	MOVD	16(R19), R1
	MOVWU	0(R1), R0
	MOVD	$0x656c6469, R2 // idle
	CMP	R2, R0
	BNE	begin
	MOVBU	4(R1), R0
	CBNZ	R0, begin

	// A child that ended before this program began: its signal may have gone to a thread
	// of the Go runtime. waitid(P_ALL, 0, &info, WEXITED|WNOHANG|WNOWAIT, 0)
	SUB	$2048, R19, R20 // no signal comes that would use the stack
	MOVD	ZR, 16(R20)
	MOVD	$95, R8
	MOVD	ZR, R0
	MOVD	ZR, R1
	MOVD	R20, R2
	MOVD	$0x01000005, R3
	MOVD	ZR, R4
	SVC
	MOVWU	16(R20), R0
	CBNZ	R0, wake

	MOVD	24(R19), R3
	ADD	$2, R3
	MOVD	ZR, R1
	MOVD	R20, R4
	MOVD	$1, R5 // POLLIN
descriptor:
	MOVBU	(R3), R2
	SUBS	$48, R2, R2 // '0'
	BLT	poll
	MOVW	R2, 0(R4)
	MOVW	R5, 4(R4)
	ADD	$1, R3
	ADD	$8, R4
	ADD	$1, R1
	B	descriptor
poll:
	MOVD	$73, R8 // ppoll(R20, R1, 0, 0, 8)
	MOVD	R20, R0
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	$8, R4
	SVC

wake:
	MOVD	24(R19), R22
reserve: // what R22 says; then exec, if R19 has the arguments of the idle stage
	MOVBU	1(R22), R1
	SUB	$48, R1
	LSL	$22, R1
	MOVD	$222, R8 // mmap(0, R1, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)
	MOVD	ZR, R0
	MOVD	$3, R2
	MOVD	$0x22, R3
	MOVD	$-1, R4
	MOVD	ZR, R5
	SVC
	CMN	$12, R0 // ENOMEM
	BEQ	pause
	MOVD	$215, R8 // munmap(R0, R1)
	SVC

	MOVBU	0(R22), R21
	SUB	$48, R21
threads:
	SUBS	$1, R21, R21
	BLT	reserved
	MOVD	$220, R8 // clone(CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM, 0, 0, 0, 0)
	MOVD	$0x50f00, R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	SVC
	TBNZ	$63, R0, pause
	CBNZ	R0, threads
	// A thread. It must not use the stack. If there is none after it, it ends before that is
	// tried again, so that two wrappers do not wait for each other's threads.
	MOVD	$101, R8 // nanosleep(threadPause, 0)
	MOVD	$·threadPause(SB), R0
	MOVD	ZR, R1
	SVC
	MOVD	$93, R8 // exit(0)
	MOVD	ZR, R0
	SVC

reserved:
	MOVD	$·forRuntime(SB), R0
	CMP	R0, R22
	BEQ	awake
	MOVD	$0x65732f636f72702f, R0 // /proc/self/exe
	MOVD	R0, 0(R20)
	MOVD	$0x006578652f666c, R0
	MOVD	R0, 8(R20)
	MOVD	ZR, 16(R19) // argv[1]
	MOVD	$221, R8 // execve(R20, argv, envp)
	MOVD	R20, R0
	ADD	$8, R19, R1
	ADD	$40, R19, R2
	SVC
pause:
	MOVD	ZR, 0(R20)
	MOVD	$100000000, R0
	MOVD	R0, 8(R20)
	MOVD	$101, R8 // nanosleep(R20, 0)
	MOVD	R20, R0
	MOVD	ZR, R1
	SVC
	B	reserve

	// The early stage: a program in Go without its runtime, see early.go.
begin:
	MOVD	R19, ·initial(SB)
	MOVD	$·noRuntime(SB), g
	SUB	$32, R19, R20
	AND	$~15, R20
	MOVD	R20, RSP
	BL	·early(SB)
	MOVD	8(RSP), R0
	MOVD	·initial(SB), R19
	MOVD	R19, RSP
	SUB	$2048, R19, R20
	MOVD	$·forRuntime(SB), R22
	CMN	$2, R0 // wakeReserve
	BEQ	reserve
	CMN	$1, R0 // wake
	BEQ	awake
	MOVD	$94, R8 // exit_group(R0)
	SVC

awake:
	MOVD	·initial(SB), R19
	MOVD	R19, RSP
	MOVD	$1, R0 // _SigNotify
	MOVW	R0, runtime·sigtable+(3*24)(SB) // QUIT
	MOVW	R0, runtime·sigtable+(15*24)(SB) // TERM
	B	_rt0_arm64_linux(SB)
