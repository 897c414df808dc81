/* The least that starts programs: with posix_spawn(3), which is a vfork and an exec.
 *
 *   start wait  N LANES PROGRAM [ARGUMENT...]   N times, each after the last one has ended
 *   start leave N LANES PROGRAM [ARGUMENT...]   the same without waiting for the ends
 *   start at    N APART PROGRAM [ARGUMENT...]   each at an instant of its own, APART microseconds
 *                                               after the last one; its number is its last argument
 *
 * As many processes as LANES do it side by side. Prints two times in nanoseconds of CLOCK_REALTIME:
 * that before the first start, or the first instant, and that at which all was done. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *about)
{
	perror(about);
	exit(1);
}

static pid_t start(char **argv)
{
	pid_t pid;
	errno = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
	if (errno)
		fail(argv[0]);
	return pid;
}

static void end(pid_t pid)
{
	int status;
	if (waitpid(pid, &status, 0) < 0 || status)
		fail("a program failed");
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void lane(const char *how, int n, char **argv)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = start(argv);
		if (!strcmp(how, "wait"))
			end(pid);
	}
	while (wait(NULL) > 0)
		;
}

static void one_at_a_time(int n, long long begin, long long apart, int argc, char **argv)
{
	char number[16], *with[argc + 2];
	memcpy(with, argv, argc * sizeof *argv);
	with[argc] = number;
	with[argc + 1] = NULL;
	for (int i = 0; i < n; i++) {
		long long due = begin + i * apart;
		struct timespec at = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
		snprintf(number, sizeof number, "%d", i);
		if (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL))
			fail("clock_nanosleep");
		end(start(with));
	}
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	int n = atoi(argv[2]), third = atoi(argv[3]);
	long long begin = now();
	if (!strcmp(argv[1], "at")) {
		begin += 100000000;
		one_at_a_time(n, begin, third * 1000LL, argc - 4, argv + 4);
	} else {
		for (int i = 1; i < third; i++) {
			pid_t pid = fork();
			if (pid < 0)
				fail("fork");
			if (pid == 0) {
				lane(argv[1], n / third, argv + 4);
				return 0;
			}
		}
		lane(argv[1], n - n / third * (third - 1), argv + 4);
	}
	printf("%lld %lld\n", begin, now());
	return 0;
}
