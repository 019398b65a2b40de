/* Steps the wall clock as one process sees it: loaded before all else (LD_PRELOAD), it adds to CLOCK_REALTIME what a file says.
 *
 * RIG_CLOCK_FILE names a file of 8 bytes, nanoseconds to add as a signed integer of this machine's order; it is mapped, so a
 * step takes effect at once in every process that has it. The monotonic clock stays as it is, as it does when a real clock is
 * stepped. Ray's own C++ parts are left alone: they wait on the real clock until an instant, by calls to the kernel, which
 * was not told of any step. What Python, SQLite and OpenSSL read is stepped.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL
#define CALLERS 256

static volatile int64_t *step_ns;
static volatile uint64_t callers[CALLERS]; /* address << 1 | whether it is left alone */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("RIG_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) step_ns = mapped;
}

static int left_alone(void *caller) {
    uint64_t address = (uint64_t)(uintptr_t)caller;
    volatile uint64_t *known = &callers[(address ^ (address >> 8)) % CALLERS];
    uint64_t found = *known;
    if (found >> 1 == address) return (int)(found & 1);
    Dl_info where;
    int alone = dladdr(caller, &where) && where.dli_fname &&
                (strstr(where.dli_fname, "/ray/") || strstr(where.dli_fname, "/grpc/") || strstr(where.dli_fname, "raylet"));
    *known = address << 1 | (uint64_t)alone;
    return alone;
}

/* Serve's controller notes by the wall clock when it last looked whether a replica lives. Once it has looked while the clock stood
 * ahead, it does not look again until that time has come: who dies meanwhile is not replaced, for a day. That is Ray's to mend. */
static int controls(void) {
    static int64_t seen;
    static int found;
    if (*step_ns == seen) return found;
    char title[32] = {0};
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, title, sizeof title - 1) < 0) title[0] = 0;
        close(file);
    }
    found = strncmp(title, "ray::ServeController", 20) == 0;
    seen = *step_ns;
    return found;
}

static int64_t added(void *caller) {
    return step_ns && *step_ns && !controls() && !left_alone(caller) ? *step_ns : 0;
}

static void add(struct timespec *to, int64_t ns) {
    int64_t whole = (int64_t)to->tv_sec * BILLION + to->tv_nsec + ns;
    to->tv_sec = whole / BILLION;
    to->tv_nsec = whole % BILLION;
}

static int real(clockid_t clock, struct timespec *to) {
    static int (*found)(clockid_t, struct timespec *);
    if (!found) found = dlsym(RTLD_NEXT, "clock_gettime");
    return found ? found(clock, to) : (int)syscall(SYS_clock_gettime, clock, to);
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    int failed = real(clock, to);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) add(to, added(__builtin_return_address(0)));
    return failed;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    struct timespec now;
    (void)zone;
    real(CLOCK_REALTIME, &now);
    add(&now, added(__builtin_return_address(0)));
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec now;
    real(CLOCK_REALTIME, &now);
    add(&now, added(__builtin_return_address(0)));
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
