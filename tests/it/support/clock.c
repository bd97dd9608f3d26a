/* Preloaded into a program: its wall clock is off by the seconds that the file CLOCK_OFF_BY names holds now. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now)
{
	const char *path = getenv("CLOCK_OFF_BY");
	char text[32] = "";
	int file;

	if (syscall(SYS_clock_gettime, id, now))
		return -1;
	if (id != CLOCK_REALTIME || !path || (file = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return 0;
	if (read(file, text, sizeof text - 1) > 0)
		now->tv_sec += strtoll(text, NULL, 10);
	close(file);
	return 0;
}
