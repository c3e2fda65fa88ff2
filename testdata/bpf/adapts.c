// A program that adapts to the kernel's own types (CO-RE).
//
//	clang -O2 -g -target bpf -fdebug-prefix-map=$PWD=. -c adapts.c
struct __sk_buff { unsigned len; } __attribute__((preserve_access_index));

__attribute__((section("lwt_in"), used)) int adapts(struct __sk_buff *packet) { return packet->len > 65535; }
