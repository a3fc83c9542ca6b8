/* LD_PRELOAD: the wall clock of the process is off by as many seconds as the first eight bytes of the file in
   CHAOS_CLOCK say.

   Programs read clocks from the vDSO, and not all of them through the C library, so its functions themselves are
   replaced, in the memory of this process only. x86-64. */
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

static volatile int64_t *offset;

static int read_clock(clockid_t clock, struct timespec *now) {
    long failed = SYS_clock_gettime;
    __asm__ volatile("syscall" : "+a"(failed) : "D"((long)clock), "S"(now) : "rcx", "r11", "memory");
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (failed == 0 && wall)
        now->tv_sec += *offset;
    return (int)failed;
}

static int read_timeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec found;
    int failed = read_clock(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return failed;
}

static time_t read_time(time_t *now) {
    struct timespec found;
    read_clock(CLOCK_REALTIME, &found);
    if (now != NULL)
        *now = found.tv_sec;
    return found.tv_sec;
}

static void replace(void *vdso, const char *name, void *by) {
    unsigned char jump[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}; /* movabs rax, by; jmp rax */
    unsigned char *place = dlsym(vdso, name);
    uintptr_t page = (uintptr_t)place & ~(uintptr_t)4095;
    memcpy(jump + 2, &by, sizeof by);
    if (place == NULL || mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        _exit(99);
    memcpy(place, jump, sizeof jump);
}

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("CHAOS_CLOCK");
    int descriptor = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, descriptor, 0);
    void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (mapped == MAP_FAILED || vdso == NULL)
        _exit(98);
    offset = mapped;
    close(descriptor);
    replace(vdso, "__vdso_clock_gettime", (void *)read_clock);
    replace(vdso, "__vdso_gettimeofday", (void *)read_timeofday);
    replace(vdso, "__vdso_time", (void *)read_time);
}
