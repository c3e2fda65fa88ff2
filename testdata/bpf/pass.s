# Programs for routes (encap bpf) that let packets pass or drop them.
#
#	llvm-mc -triple bpf -filetype=obj -o pass.o pass.s
	.section	lwt_in,"ax",@progbits
	.globl	in
	.type	in,@function
in:
	r0 = 0
	exit
	.size	in, .-in

	.section	lwt_out,"ax",@progbits
	.globl	out
	.type	out,@function
out:
	r0 = 0
	exit
	.size	out, .-out

	.section	lwt_xmit,"ax",@progbits
	.globl	xmit
	.type	xmit,@function
xmit:
	r0 = 0
	exit
	.size	xmit, .-xmit

	.section	lwt_xmit/drop,"ax",@progbits
	.globl	drop
	.type	drop,@function
drop:
	r0 = 2
	exit
	.size	drop, .-drop

	.section	lwt_seg6local,"ax",@progbits
	.globl	endpoint
	.type	endpoint,@function
endpoint:
	r0 = 0
	exit
	.size	endpoint, .-endpoint

	.section	license,"aw",@progbits
	.asciz	"GPL"
