/*
 * The floor for ping: sends N echo requests to an IPv4 address, one after another,
 * each when the one before is answered, and prints the microseconds per echo.
 *
 *	cc -O2 -o ping ping.c && ping ADDRESS N
 *
 * The socket is an ICMP datagram one, so the namespace's net.ipv4.ping_group_range
 * must have the caller's group in it ("0 0"). The first echo, which may have to
 * wait for the neighbour, is not in the figure.
 */
#include <arpa/inet.h>
#include <netinet/ip_icmp.h>
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

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct timeval wait = { .tv_sec = 2 };
	struct timespec a, b;
	long count = argc == 3 ? atol(argv[2]) : 0;
	int fd;

	if (count < 1 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: ping ADDRESS N\n");
		return 2;
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
