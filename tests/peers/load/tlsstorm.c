/* tlsstorm: many devices that want one answer each, at once, loopback only.
 *   tlsstorm PORT PATH DEVICES AT_ONCE TIMEOUT_S CA_PEM CERT_PEM KEY_PEM
 * Each device connects, shakes hands with its certificate, asks once and leaves. One that gets no answer within
 * TIMEOUT_S hangs up and comes again after a jittered wait that doubles, as devices do. Not more than AT_ONCE are under
 * way. Prints one JSON line: answers a second, the same until nine tenths have theirs (the last ones wait for their own
 * back-off, not for the server), seconds in all, attempts, how many were given up and repeated, refusals.
 * Build: cc -O2 -Wall -Wextra -o tlsstorm tlsstorm.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAITING, CONNECTING, SHAKING, ASKING, DONE };
/* Each device has a processor of its own, here they share one: whoever is in a handshake goes first, and not more than
 * so many begin between two looks at the others. Else all of them begin before anyone answers, and time out. */
enum { BEGIN = 64, EVENTS = 1024 };
typedef struct { SSL *ssl; int fd, state, tries; double since, again; } device_t;

static int port, epfd, under_way;
static double timeout_s;
static char req[1024];
static int reqlen;
static SSL_CTX *ctx;
static long attempts, repeated, refused, answered;

static void die(const char *what) { perror(what); ERR_print_errors_fp(stderr); exit(1); }

static void leave(device_t *d, int state) {
    if (d->ssl) SSL_free(d->ssl);
    if (d->fd >= 0) close(d->fd);
    d->ssl = NULL;
    d->fd = -1;
    d->state = state;
    under_way--;
}
static void fail(device_t *d) {
    double wait = .5 * (1 << (d->tries < 5 ? d->tries : 5)) * (.5 + drand48());
    repeated++;
    d->again = now() + wait;
    leave(d, WAITING);
}
static void start(device_t *d) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    int one = 1;
    d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (d->fd < 0 && errno == EMFILE) { d->again = now() + .2; return; }   /* the machine's limit, not the server's */
    if (d->fd < 0) die("socket");
    setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct linger hard = {1, 0};
    setsockopt(d->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    d->since = now();
    d->tries++;
    d->state = CONNECTING;
    attempts++;
    under_way++;
    if (connect(d->fd, (void *)&a, sizeof a) && errno != EINPROGRESS) { fail(d); return; }
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = d};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, d->fd, &e)) die("epoll");
}
static void step(device_t *d) {
    if (d->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) { fail(d); return; }
        d->ssl = SSL_new(ctx);
        SSL_set_fd(d->ssl, d->fd);
        SSL_set_connect_state(d->ssl);
        d->state = SHAKING;
    }
    if (d->state == SHAKING) {
        int k = SSL_do_handshake(d->ssl);
        if (k != 1) {
            int why = SSL_get_error(d->ssl, k);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) fail(d);
            return;
        }
        if (SSL_write(d->ssl, req, reqlen) != reqlen) { fail(d); return; }
        d->state = ASKING;
    }
    if (d->state == ASKING) {
        char buf[4096];
        int k = SSL_read(d->ssl, buf, sizeof buf - 1);
        if (k <= 0) {
            if (SSL_get_error(d->ssl, k) != SSL_ERROR_WANT_READ) fail(d);
            return;
        }
        if (k > 12 && buf[9] == '2') answered++;
        else refused++;
        leave(d, DONE);
    }
}

int main(int argc, char **argv) {
    if (argc != 9) { fprintf(stderr, "usage: tlsstorm PORT PATH DEVICES AT_ONCE TIMEOUT CA CERT KEY\n"); return 2; }
    int total = atoi(argv[3]), at_once = atoi(argv[4]);
    port = atoi(argv[1]);
    timeout_s = atof(argv[5]);
    struct rlimit files = {0, 0};
    getrlimit(RLIMIT_NOFILE, &files);
    struct rlimit more = {65536, 65536};
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &more)) setrlimit(RLIMIT_NOFILE, &files);
    ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || !SSL_CTX_load_verify_locations(ctx, argv[6], NULL)) die("CA");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(ctx, argv[7]) != 1 || SSL_CTX_use_PrivateKey_file(ctx, argv[8], SSL_FILETYPE_PEM) != 1) die("certificate");
    reqlen = snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    srand48(1);
    signal(SIGPIPE, SIG_IGN);
    epfd = epoll_create1(0);
    device_t *all = calloc((size_t)total, sizeof *all);
    struct epoll_event *events = calloc(EVENTS, sizeof *events);
    for (int i = 0; i < total; i++) all[i].fd = -1;
    double begun = now(), swept = begun, looked = 0, most = 0;
    long done = 0;
    int next = 0;
    while (done < total && now() - begun < 600) {
        double t = now();
        if (t - looked > .005 ) {   /* whose turn has come: not at each event, it costs */
            looked = t;
            int begun_now = 0;
            for (int i = 0; under_way < at_once && begun_now < BEGIN && i < total; i++, next = (next + 1) % total)
                if (all[next].state == WAITING && all[next].again <= t) { start(&all[next]); begun_now++; }
        }
        int n = epoll_wait(epfd, events, EVENTS, 5);
        for (int connecting = 0; connecting < 2; connecting++)
            for (int i = 0; i < n; i++) {
                device_t *d = events[i].data.ptr;
                if (d->state > WAITING && d->state < DONE && connecting == (d->state == CONNECTING)) step(d);
            }
        if (t - swept > .1) {
            swept = t;
            for (int i = 0; i < total; i++)
                if (all[i].state > WAITING && all[i].state < DONE && t - all[i].since > timeout_s) fail(&all[i]);
        }
        done = answered + refused;
        if (!most && done >= total * .9) most = now() - begun;
    }
    double el = now() - begun;
    printf("{\"rps\": %.1f, \"rps90\": %.1f, \"seconds90\": %.1f, \"seconds\": %.1f, \"answered\": %ld, \"attempts\": %ld, \"repeated\": %ld, \"refused\": %ld}\n", answered / el,
           total * .9 / most, most, el,
           answered, attempts, repeated, refused);
    return answered == total ? 0 : 1;
}
