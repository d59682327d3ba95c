/* Preload this into a program to imitate a poor file system: calls named in $NOT ("flock", "fsync", "link")
   fail as on NFS without its lock service, on some FUSE and on FAT; flock and fsync only below $BELOW. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int lacks(const char *call) {
    const char *lacking = getenv("NOT");
    return lacking && strstr(lacking, call);
}

static int is_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    const char *folder = getenv("BELOW");
    if (size < 0 || !folder) return 0;
    path[size] = 0;
    return !strncmp(path, folder, strlen(folder));
}

int flock(int fd, int operation) {
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    if (lacks("flock") && is_below(fd)) { errno = ENOLCK; return -1; }
    return real(fd, operation);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    struct stat status;
    if (lacks("fsync") && is_below(fd) && !fstat(fd, &status) && S_ISDIR(status.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    return real(fd);
}

int link(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link");
    if (lacks("link")) { errno = EPERM; return -1; }
    return real(from, to);
}
