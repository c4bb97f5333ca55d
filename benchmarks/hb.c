/* The ceiling for plain checks: HEAD each manifest once over keep-alive connections, by epoll, one
 * request under way on each, and do nothing else with the answer than compare its status and
 * Docker-Content-Digest. No TLS, no redirects, no timeouts but one for all, no allocation on the way.
 *
 *   hb PORT CONNECTIONS FILE
 *
 * FILE holds a line for each request, `PATH DIGEST`. Prints wall-clock seconds, CPU seconds, and
 * milliseconds of the median and of the 99th percentile; ends with 1 where an answer was another.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 1024, HEAD = 2048, ANSWER = 16384, EVENTS = 256, PATIENCE = 10000 };

static const char *const REQUEST =
    "HEAD %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: syncwatch/1\r\n"
    "Accept-Encoding: identity\r\nAccept: application/vnd.oci.image.index.v1+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json\r\n\r\n";

typedef struct {
    char *text, *digest;
    int length;
} Request;

typedef struct {
    int fd, held;
    long asked;
    double sent;
    char answer[ANSWER];
} Connection;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *words) {
    fprintf(stderr, "hb: %s\n", words);
    exit(1);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a - *(const double *)b;
    return (x > 0) - (x < 0);
}

/* All requests, written out before the clock starts. */
static Request *prepare(const char *path, int port, long *count) {
    FILE *file = fopen(path, "r");
    char line[LINE], text[HEAD], target[LINE], digest[LINE];
    Request *all = NULL;
    if (!file) fail("no such file");
    for (*count = 0; fgets(line, sizeof line, file); ++*count) {
        if (sscanf(line, "%1023s %1023s", target, digest) != 2) fail("a line is not PATH DIGEST");
        all = realloc(all, sizeof *all * (*count + 1));
        Request *one = &all[*count];
        one->length = snprintf(text, sizeof text, REQUEST, target, port);
        if (one->length >= (int)sizeof text) fail("a path is too long");
        one->text = strdup(text);
        one->digest = strdup(digest);
    }
    fclose(file);
    return all;
}

static void join(Connection *c, int epoll, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event want = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&to, sizeof to)) fail("not connected");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &want);
}

static void send_next(Connection *c, const Request *all, long *sent, long count) {
    if (*sent == count) return;
    c->asked = (*sent)++;
    c->sent = now();
    const Request *one = &all[c->asked];
    if (write(c->fd, one->text, one->length) != one->length) fail("not sent");
}

/* Whether the answer is whole; it has to be 200, and to name the digest. */
static int answered(Connection *c, const Request *all) {
    static const char name[] = "\r\nDocker-Content-Digest: ";
    const char *digest = all[c->asked].digest;
    ssize_t got = read(c->fd, c->answer + c->held, sizeof c->answer - 1 - c->held);
    if (got <= 0) fail("the connection was closed");
    c->held += got;
    c->answer[c->held] = 0;
    if (!memmem(c->answer, c->held, "\r\n\r\n", 4)) return 0;
    char *named = strcasestr(c->answer, name);
    if (atoi(c->answer + 9) != 200) fail("the status is not 200");
    if (!named || strncmp(named + sizeof name - 1, digest, strlen(digest))) fail("another digest");
    c->held = 0;
    return 1;
}

int main(int arguments, char **values) {
    if (arguments != 4) fail("PORT CONNECTIONS FILE");
    int port = atoi(values[1]), width = atoi(values[2]), epoll = epoll_create1(0);
    long count, sent = 0, done = 0;
    Request *all = prepare(values[3], port, &count);
    if (!count || width < 1) fail("nothing to do");
    Connection *connections = calloc(width, sizeof *connections);
    double *taken = calloc(count, sizeof *taken), began = now();
    struct epoll_event events[EVENTS];
    struct rusage used;
    for (int i = 0; i < width; i++) join(&connections[i], epoll, port);
    for (int i = 0; i < width; i++) send_next(&connections[i], all, &sent, count);
    while (done < count) {
        int ready = epoll_wait(epoll, events, EVENTS, PATIENCE);
        if (ready <= 0) fail("no answer");
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (!answered(c, all)) continue;
            taken[done++] = now() - c->sent;
            send_next(c, all, &sent, count);
        }
    }
    double seconds = now() - began;
    getrusage(RUSAGE_SELF, &used);
    qsort(taken, count, sizeof *taken, compare);
    printf("%.6f %.6f %.3f %.3f\n", seconds,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec +
               (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6,
           taken[count / 2] * 1e3, taken[count * 99 / 100] * 1e3);
    return 0;
}
