/*
 * The floor for ping: sends N echo requests to an IPv4 address, one after another,
 * each when the one before is answered, and prints the microseconds per echo.
 *
 *	cc -O2 -o ping ping.c && ping ADDRESS N [NAMESPACE]
 *
 * With the path of a namespace each echo is a probe of its own, as a runtime
 * does it: it enters the namespace from where the process is, opens a raw socket
 * with kernel timestamps and the error queue, comes back, sends, receives, and
 * closes. Without, all echoes use one socket that is open already.
 *
 * The socket is an ICMP datagram one, so the namespace's net.ipv4.ping_group_range
 * must have the caller's group in it ("0 0"). The first echo, which may have to
 * wait for the neighbour, is not in the figure.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <linux/icmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void echo(int fd, unsigned seq)
{
	struct { struct icmphdr head; char data[56]; } packet, answer;

	memset(&packet, 0, sizeof packet);
	packet.head.type = ICMP_ECHO;
	packet.head.un.echo.sequence = htons(seq);
	if (send(fd, &packet, sizeof packet, 0) < 0)
		fail("send");
	for (;;) {
		ssize_t n = recv(fd, &answer, sizeof answer, 0);

		if (n < 0)
			fail("recv");
		if (n >= (ssize_t)sizeof answer.head && answer.head.type == ICMP_ECHOREPLY &&
		    answer.head.un.echo.sequence == packet.head.un.echo.sequence)
			return;
	}
}

static void whole(const struct sockaddr_in *to, const char *space, int home, unsigned seq)
{
	struct { struct icmphdr head; char data[56]; } packet;
	char answer[256], control[256];
	struct icmp_filter only_replies = { .data = ~(1U << ICMP_ECHOREPLY) };
	struct timeval wait = { .tv_sec = 2 };
	struct timespec sent;
	int on = 1, inside = open(space, O_RDONLY | O_CLOEXEC), fd;

	if (inside < 0 || setns(inside, CLONE_NEWNET) < 0)
		fail(space);
	if ((fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)) < 0)
		fail("socket");
	if (setns(home, CLONE_NEWNET) < 0)
		fail("setns");
	close(inside);
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
	setsockopt(fd, SOL_IP, IP_RECVERR, &on, sizeof on);
	setsockopt(fd, SOL_IP, IP_RECVTTL, &on, sizeof on);
	setsockopt(fd, SOL_RAW, 1 /* ICMP_FILTER */, &only_replies, sizeof only_replies);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	if (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0)
		fail("connect");
	memset(&packet, 0, sizeof packet);
	packet.head.type = ICMP_ECHO;
	packet.head.un.echo.id = htons(4711);
	packet.head.un.echo.sequence = htons(seq);
	unsigned sum = ntohs(packet.head.un.echo.id) + seq + (ICMP_ECHO << 8);
	packet.head.checksum = htons(~((sum & 0xffff) + (sum >> 16)));
	clock_gettime(CLOCK_REALTIME, &sent);
	if (send(fd, &packet, sizeof packet, 0) < 0)
		fail("send");
	for (;;) {
		struct iovec io = { answer, sizeof answer };
		struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		struct icmphdr *reply = (struct icmphdr *)(answer + 20);

		if (recvmsg(fd, &m, 0) < 0)
			fail("recvmsg");
		if (reply->type == ICMP_ECHOREPLY && reply->un.echo.sequence == packet.head.un.echo.sequence)
			break;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct timeval wait = { .tv_sec = 2 };
	struct timespec a, b;
	long count = argc == 3 || argc == 4 ? atol(argv[2]) : 0;
	int fd;

	if (count < 1 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: ping ADDRESS N [NAMESPACE]\n");
		return 2;
	}
	if (argc == 4) {
		int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

		whole(&to, argv[3], home, 0);
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (long i = 1; i <= count; i++)
			whole(&to, argv[3], home, i & 0x7fff);
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%.2f\n", ((b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3) / count);
		return 0;
	}
	if ((fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)) < 0)
		fail("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0)
		fail("setsockopt");
	if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
		fail("connect");
	echo(fd, 0);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 1; i <= count; i++)
		echo(fd, i & 0xffff);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.2f\n", ((b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3) / count);
	return 0;
}
