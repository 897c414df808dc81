/* What the measured programs start: act FILE WORD [SECONDS | ADDRESS PORT]
 *
 * Its first act is to read the clock. It appends a line to FILE: WORD, and that time in
 * nanoseconds of CLOCK_REALTIME. Then it sleeps so many seconds. With an address it listens there before it writes, and then
 * answers each connection with a line until it is killed. It reports by sd_notify(3) that it
 * is ready, if it is asked to. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *about)
{
	perror(about);
	exit(1);
}

static int serve(const char *address, const char *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	int yes = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!inet_aton(address, &at.sin_addr) || s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
	    bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 16))
		fail(address);
	return s;
}

static void notify(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strncpy(to.sun_path, path, sizeof to.sun_path - 1);
	if (s < 0 || sendto(s, "READY=1", 7, 0, (struct sockaddr *)&to, offsetof(struct sockaddr_un, sun_path) + strlen(to.sun_path) + 1) != 7)
		fail(path);
	close(s);
}

int main(int argc, char **argv)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (argc < 3 || argc > 5)
		return 2;
	int server = argc == 5 ? serve(argv[3], argv[4]) : -1;
	char line[256];
	int n = snprintf(line, sizeof line, "%s %lld\n", argv[2], now.tv_sec * 1000000000LL + now.tv_nsec);
	int file = open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || n >= (int)sizeof line || write(file, line, n) != n)
		fail(argv[1]);
	close(file);
	if (getenv("NOTIFY_SOCKET"))
		notify(getenv("NOTIFY_SOCKET"));
	if (argc == 4)
		sleep(atoi(argv[3]));
	while (server >= 0) {
		int client = accept(server, NULL, NULL);
		if (client < 0 || write(client, "here\n", 5) != 5)
			fail("accept");
		close(client);
	}
	return 0;
}
