/*
 * The floor for many pings: reads lines "NAMESPACE ADDRESS" (the path of a namespace,
 * an IPv4 address), sends one echo request from each namespace, all before the first
 * reply is read, and prints the microseconds from the first socket to the last reply.
 *
 *	cc -O2 -o pings pings.c && pings < LIST
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/icmp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static unsigned short checksum(const unsigned short *p, int n)
{
	unsigned sum = 0;

	for (; n > 1; n -= 2)
		sum += *p++;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

int main(void)
{
	static struct { char path[256]; struct sockaddr_in to; int fd; } ping[MOST];
	struct { struct icmphdr head; char data[56]; } packet;
	char address[64], answer[256];
	int n = 0, left, poll = epoll_create1(0), i;
	double began;

	while (n < MOST && scanf("%255s %63s", ping[n].path, address) == 2) {
		ping[n].to.sin_family = AF_INET;
		if (inet_pton(AF_INET, address, &ping[n].to.sin_addr) != 1)
			fail(address);
		n++;
	}
	memset(&packet, 0, sizeof packet);
	packet.head.type = ICMP_ECHO;
	began = now();
	for (i = 0; i < n; i++) {
		int ns = open(ping[i].path, O_RDONLY);
		struct epoll_event e = { .events = EPOLLIN, .data.u32 = i };

		if (ns < 0 || setns(ns, CLONE_NEWNET))
			fail(ping[i].path);
		close(ns);
		ping[i].fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP);
		if (ping[i].fd < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, ping[i].fd, &e))
			fail("socket");
		packet.head.un.echo.id = htons(i);
		packet.head.checksum = 0;
		packet.head.checksum = checksum((void *)&packet, sizeof packet);
		if (sendto(ping[i].fd, &packet, sizeof packet, 0, (void *)&ping[i].to, sizeof ping[i].to) < 0)
			fail("sendto");
	}
	for (left = n; left > 0;) {
		struct epoll_event e[64];
		int ready = epoll_wait(poll, e, 64, 10000), k;

		if (ready <= 0)
			fail("no reply");
		for (k = 0; k < ready; k++) {
			int of = e[k].data.u32;
			ssize_t size;

			/* A raw socket sees the neighbour's requests and replies, too. */
			while ((size = recv(ping[of].fd, answer, sizeof answer, 0)) > 0) {
				struct icmphdr *h = (void *)(answer + (answer[0] & 15) * 4);

				if (size >= 28 && h->type == ICMP_ECHOREPLY && ntohs(h->un.echo.id) == of) {
					left--;
					close(ping[of].fd);
					break;
				}
			}
		}
	}
	printf("%.0f\n", now() - began);
	return 0;
}
