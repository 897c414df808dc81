//go:build early

#include "textflag.h"

// func entry()
TEXT ·entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	RSP, R19
	MOVD	R19, ·initial(SB)
	MOVD	$·noRuntime(SB), g
	SUB	$32, R19, R20
	AND	$~15, R20
	MOVD	R20, RSP
	BL	·early(SB)
	MOVD	8(RSP), R0
	CMN	$1, R0 // leave
	BEQ	ordinary
	MOVD	$94, R8 // exit_group(R0)
	SVC

ordinary:
	MOVD	·initial(SB), R19
	MOVD	R19, RSP
	B	_rt0_arm64_linux(SB)
