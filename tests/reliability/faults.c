/* Faults from outside: preloaded into the real program, it counts the calls by which state reaches the disk or the network, and
   at one of them kills the process, tears the write, or lets the call fail. The program itself holds no code for it.

   QUELL_FAULT   = KIND:CALLS:N   KIND  before | after  kill -9 before or after the call
                                        torn            write half of the bytes, then kill -9 (write and pwrite)
                                        EIO | ENOSPC    the call fails so, this once
                                  CALLS all | sync | write | rename | unlink | truncate | send
                                  N     the call from 1, of those counted
   QUELL_FAULT_WORD  = TEXT       kill -9 before a write of that text to a file that is not counted: a record that ends its reader
   QUELL_FAULT_UNDER = FOLDER     calls on files are counted under this folder alone
   QUELL_FAULT_COUNT = FILE       how many calls were counted, and of which kind, written when the program ends in order */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SYNC, WRITE, RENAME, UNLINK, TRUNCATE, SEND, CALLS };
static const char *const names[CALLS] = {"sync", "write", "rename", "unlink", "truncate", "send"};
enum { NONE, BEFORE, AFTER, TORN, FAIL };

static int kind, which = -1, error;
static long at;
static const char *under, *word;
static size_t under_length;
static atomic_long counted, by_call[CALLS];

__attribute__((constructor)) static void begin(void) {
  word = getenv("QUELL_FAULT_WORD");
  under = getenv("QUELL_FAULT_UNDER");
  under_length = under ? strlen(under) : 0;
  const char *fault = getenv("QUELL_FAULT");
  char how[16], calls[16];
  if (!fault || sscanf(fault, "%15[^:]:%15[^:]:%ld", how, calls, &at) != 3) return;
  kind = !strcmp(how, "before") ? BEFORE : !strcmp(how, "after") ? AFTER : !strcmp(how, "torn") ? TORN : FAIL;
  error = !strcmp(how, "ENOSPC") ? ENOSPC : EIO;
  for (int call = 0; call < CALLS; call++)
    if (!strcmp(calls, names[call])) which = call;
}

__attribute__((destructor)) static void end(void) {
  const char *file = getenv("QUELL_FAULT_COUNT");
  FILE *out = file ? fopen(file, "w") : NULL;
  if (!out) return;
  for (int call = 0; call < CALLS; call++) fprintf(out, "%s %ld\n", names[call], (long)by_call[call]);
  fclose(out);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int is_under(const char *path) { return !under || (path && !strncmp(path, under, under_length)); }

static int is_file_under(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return path[0] == '/' && is_under(path);
}

static int is_socket(int fd) {
  int type;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

/* Whether this is the call; kills before it where that is asked for. */
static int hit(int call) {
  atomic_fetch_add(&by_call[call], 1);
  if (!kind || (which >= 0 && which != call)) return 0;
  int now = atomic_fetch_add(&counted, 1) + 1 == at;
  if (now && kind == BEFORE) die();
  return now;
}

#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAILS(now) if ((now) && kind == FAIL) { errno = error; return -1; }
#define DONE(now) if ((now) && (kind == AFTER || kind == TORN)) die()

int fsync(int fd) {
  NEXT(fsync);
  int now = is_file_under(fd) && hit(SYNC);
  FAILS(now);
  int result = next(fd);
  DONE(now);
  return result;
}

int fdatasync(int fd) {
  NEXT(fdatasync);
  int now = is_file_under(fd) && hit(SYNC);
  FAILS(now);
  int result = next(fd);
  DONE(now);
  return result;
}

static ssize_t half(int now, size_t length) { return now && kind == TORN ? (ssize_t)(length / 2) : (ssize_t)length; }

ssize_t write(int fd, const void *bytes, size_t length) {
  NEXT(write);
  if (word && memmem(bytes, length, word, strlen(word)) && !is_file_under(fd)) die();
  int now = fd > 2 && (is_file_under(fd) ? hit(WRITE) : is_socket(fd) && hit(SEND));
  FAILS(now);
  ssize_t result = next(fd, bytes, half(now, length));
  DONE(now);
  return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  NEXT(pwrite64);
  int now = is_file_under(fd) && hit(WRITE);
  FAILS(now);
  ssize_t result = next(fd, bytes, half(now, length), offset);
  DONE(now);
  return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  NEXT(pwrite);
  int now = is_file_under(fd) && hit(WRITE);
  FAILS(now);
  ssize_t result = next(fd, bytes, half(now, length), offset);
  DONE(now);
  return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  NEXT(writev);
  int now = is_file_under(fd) ? hit(WRITE) : is_socket(fd) && hit(SEND);
  FAILS(now);
  ssize_t result = next(fd, parts, count);
  DONE(now);
  return result;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
  NEXT(send);
  int now = hit(SEND);
  FAILS(now);
  ssize_t result = next(fd, bytes, length, flags);
  DONE(now);
  return result;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  NEXT(sendmsg);
  int now = hit(SEND);
  FAILS(now);
  ssize_t result = next(fd, message, flags);
  DONE(now);
  return result;
}

int rename(const char *from, const char *to) {
  NEXT(rename);
  int now = is_under(to) && hit(RENAME);
  FAILS(now);
  int result = next(from, to);
  DONE(now);
  return result;
}

int unlink(const char *path) {
  NEXT(unlink);
  int now = is_under(path) && hit(UNLINK);
  FAILS(now);
  int result = next(path);
  DONE(now);
  return result;
}

int ftruncate64(int fd, off64_t length) {
  NEXT(ftruncate64);
  int now = is_file_under(fd) && hit(TRUNCATE);
  FAILS(now);
  int result = next(fd, length);
  DONE(now);
  return result;
}

int ftruncate(int fd, off_t length) {
  NEXT(ftruncate);
  int now = is_file_under(fd) && hit(TRUNCATE);
  FAILS(now);
  int result = next(fd, length);
  DONE(now);
  return result;
}
