// Programs for routes with maps, variables and functions; and some that are not
// loaded. Each that is returns 0 (BPF_OK) when what it reads is what it wrote.
//
//	clang -O2 -g -target bpf -fdebug-prefix-map=$PWD=. -c maps.c
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name

static void *(*lookup)(void *map, const void *key) = (void *)1;                               // bpf_map_lookup_elem
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;  // bpf_map_update_elem
static long (*trace)(const char *format, u32 size, ...) = (void *)6;                          // bpf_trace_printk

enum { HASH = 1, ARRAY = 2, ARRAY_OF_MAPS = 12 };
struct pair { u32 a; u64 b[2]; };
typedef const struct pair pair_t;

struct {
	__uint(type, HASH);
	__uint(max_entries, 7);
	__type(key, u64);
	__type(value, pair_t);
} pairs SEC(".maps");

struct {
	__uint(type, ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__uint(value_size, 8);
} counters SEC(".maps");

struct { u32 type, key, value, entries, flags; } older SEC("maps") = { ARRAY, 4, 8, 2, 0 };
struct { u32 type, key, value, entries, flags, id, pinning; } shared SEC("maps") = { ARRAY, 4, 8, 2, 0, 1, 2 };

struct {
	__uint(type, ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
	__uint(pinning, 1);
} pinned SEC(".maps");

static const volatile u32 answer = 42;
static volatile u32 before = 17;
static volatile u32 runs;

static __attribute__((noinline)) int helper(u32 x) { return x * 2 + before; }

__attribute__((noinline)) int count(u32 key)
{
	u64 *n = lookup(&counters, &key);
	if (!n)
		return -1;
	*n += helper(key);
	return *n;
}

SEC("lwt_in") int maps_and_functions(void *packet)
{
	u64 key = 9;
	struct pair in = { 5, { 6, 7 } }, *out;
	if (update(&pairs, &key, &in, 0) || !(out = lookup(&pairs, &key)))
		return 101;
	if (out->b[1] != 7 || answer != 42)
		return 102;
	runs++;
	if (runs != 1 || count(2) != 21 || count(2) != 42 || count(3) != -1)
		return 103;
	before = 1;
	return helper(answer) == 85 ? 0 : 104;
}

SEC("lwt_out") int older_map(void *packet)
{
	u32 key = 1;
	u64 value = 3, *out;
	char format[] = "%d\n";
	if (update(&older, &key, &value, 0) || !(out = lookup(&older, &key)))
		return 101;
	trace(format, sizeof(format), *out);
	return *out == 3 ? 0 : 102;
}

extern int elsewhere(u32 x);

SEC("refused/pinned") int r0(void *p) { u32 k = 0; return !lookup(&pinned, &k); }
SEC("refused/shared") int r1(void *p) { u32 k = 0; return !lookup(&shared, &k); }
SEC("refused/elsewhere") int r2(void *p) { return elsewhere(1); }
SEC("refused/callback") int r3(void *p) { u32 k = 0; return update(&counters, &k, (void *)helper, 0); }
SEC("refused/verifier") int r4(void *p) { return *(u32 *)lookup(&counters, (void *)&runs); }

char _license[] SEC("license") = "GPL";
