/* tlsload: closed-loop HTTPS/1.1 keep-alive load with CLIENT CERTIFICATES (wrk and h2load present none), loopback only.
 *   tlsload PORT PATH CONNS SECONDS CA_PEM CERTDIR [-j [PAUSE_MS]]
 * PAUSE_MS: a connection rests so long between an answer and its next request, as a fleet does; 0 asks at once.
 * CA_PEM "-" speaks plain HTTP, for peers that have no TLS.
 * CERTDIR holds pairs NAME.pem + NAME.key; connection i uses pair i mod N. CERTDIR "-" presents no certificate.
 * One full handshake for each connection before the clock starts, then only keep-alive requests are timed.
 * The server name is not checked (loopback); the chain is checked against CA_PEM.
 * An answer must carry Content-Length or be 204/304. Exit 1 if any connection failed or nothing was answered.
 * Build: cc -O2 -Wall -Wextra -o tlsload tlsload.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SAMPLES 4000000
#define MAX_PAIRS 4096
#define BUF 65536

typedef struct { SSL *ssl; int fd; double sent, due; size_t used; char *buf; } conn_t; /* due: of the next request; 0: one is under way */

static int put(conn_t *c, const char *b, int n) { return c->ssl ? SSL_write(c->ssl, b, n) : (int)write(c->fd, b, (size_t)n); }
static int get(conn_t *c) {
    void *to = c->buf + c->used;
    return c->ssl ? SSL_read(c->ssl, to, (int)(BUF - c->used)) : (int)read(c->fd, to, BUF - c->used);
}
static int again(conn_t *c, int k) { return c->ssl ? SSL_get_error(c->ssl, k) == SSL_ERROR_WANT_READ : k < 0 && errno == EAGAIN; }
static void die(const char *what) { fprintf(stderr, "%s\n", what); ERR_print_errors_fp(stderr); exit(1); }

/* bytes of the whole answer if complete, else 0; *status filled */
static size_t complete(const char *b, size_t n, int *status) {
    const char *end = memmem(b, n, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - b) + 4, len = 0;
    *status = atoi(b + 9);
    for (const char *l = b; l < end; l = (const char *)memmem(l, (size_t)(end + 2 - l), "\r\n", 2) + 2)
        if (!strncasecmp(l, "content-length:", 15)) len = (size_t)strtoul(l + 15, NULL, 10);
    return n >= head + len ? head + len : 0;
}

int main(int argc, char **argv) {
    if (argc < 7) { fprintf(stderr, "usage: tlsload PORT PATH CONNS SECONDS CA_PEM CERTDIR|- [-j [PAUSE_MS]]\n"); return 2; }
    int port = atoi(argv[1]), n = atoi(argv[3]), json = argc > 7 && !strcmp(argv[7], "-j"), pairs = 0;
    double dur = atof(argv[4]), rest = argc > 8 ? atof(argv[8]) / 1e3 : 0;
    if (port < 1 || port > 65535 || n < 1 || n > 1000 || dur <= 0 || dur > 120 || rest < 0) { fprintf(stderr, "bad argument\n"); return 2; }
    char **names = calloc(MAX_PAIRS, sizeof *names);
    if (strcmp(argv[6], "-")) {
        DIR *d = opendir(argv[6]);
        if (!d) die("cannot open CERTDIR");
        for (struct dirent *e; (e = readdir(d)) && pairs < MAX_PAIRS;) {
            char key[4096];
            size_t l = strlen(e->d_name);
            if (l < 5 || strcmp(e->d_name + l - 4, ".pem")) continue;
            snprintf(key, sizeof key, "%s/%.*s.key", argv[6], (int)(l - 4), e->d_name);
            if (access(key, R_OK)) continue;
            names[pairs++] = strndup(e->d_name, l - 4);
        }
        closedir(d);
        if (!pairs) die("no NAME.pem + NAME.key pair in CERTDIR");
    }
    int plain = !strcmp(argv[5], "-");
    char req[1024];
    int reqlen = snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tlsload\r\n\r\n", argv[2]);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);

    conn_t *c = calloc((size_t)n, sizeof *c);
    struct pollfd *p = calloc((size_t)n, sizeof *p);
    float *lat = malloc(MAX_SAMPLES * sizeof *lat);
    long done = 0, kept = 0, bad = 0, dead = 0;
    for (int i = 0; i < n; i++) {
        SSL_CTX *x = plain ? NULL : SSL_CTX_new(TLS_client_method());
        if (plain) goto line;
        if (!x || !SSL_CTX_load_verify_locations(x, argv[5], NULL)) die("CA_PEM");
        SSL_CTX_set_verify(x, SSL_VERIFY_PEER, NULL);
        if (pairs) {
            char f[4096];
            snprintf(f, sizeof f, "%s/%s.pem", argv[6], names[i % pairs]);
            if (SSL_CTX_use_certificate_chain_file(x, f) != 1) die(f);
            snprintf(f, sizeof f, "%s/%s.key", argv[6], names[i % pairs]);
            if (SSL_CTX_use_PrivateKey_file(x, f, SSL_FILETYPE_PEM) != 1) die(f);
        }
    line:;
        int one = 1;
        c[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c[i].fd < 0 || connect(c[i].fd, (void *)&a, sizeof a)) { perror("connect"); return 1; }
        setsockopt(c[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c[i].buf = malloc(BUF);
        if (!plain) {
            c[i].ssl = SSL_new(x);
            SSL_set_fd(c[i].ssl, c[i].fd);
            if (SSL_connect(c[i].ssl) != 1) die("handshake failed");
        }
        fcntl(c[i].fd, F_SETFL, fcntl(c[i].fd, F_GETFL) | O_NONBLOCK);
        p[i].fd = c[i].fd;
        p[i].events = POLLIN;
    }
    double start = now(), end = start + dur;
    for (int i = 0; i < n; i++) c[i].due = start + rest * i / n; /* spread, so that they do not ask together */
    for (double t; (t = now()) < end && dead < n;) {
        double next = t + 0.2;
        for (int i = 0; i < n; i++) {
            if (!c[i].due || p[i].fd < 0) continue;
            if (c[i].due > t) { if (c[i].due < next) next = c[i].due; continue; }
            c[i].due = 0;
            c[i].sent = now();
            if (put(&c[i], req, reqlen) != reqlen) { dead++; p[i].fd = -1; }
        }
        struct timespec wait = {0, (long)((next > now() ? next - now() : 0) * 1e9)};
        ppoll(p, (nfds_t)n, &wait, NULL);
        for (int i = 0; i < n; i++) {
            if (!(p[i].revents & (POLLIN | POLLHUP | POLLERR)) || p[i].fd < 0) continue;
            for (;;) {
                int k = get(&c[i]), status = 0;
                if (k <= 0) {
                    if (again(&c[i], k)) break;
                    dead++; p[i].fd = -1; break;
                }
                c[i].used += (size_t)k;
                size_t len = complete(c[i].buf, c[i].used, &status);
                if (!len) { if (c[i].used == BUF) { dead++; p[i].fd = -1; break; } continue; }
                c[i].used = 0;
                double t = now();
                if (status >= 200 && status < 400) { done++; if (kept < MAX_SAMPLES) lat[kept++] = (float)(t - c[i].sent); } else bad++;
                if (rest) { c[i].due = t + rest; break; }
                c[i].sent = t;
                if (put(&c[i], req, reqlen) != reqlen) { dead++; p[i].fd = -1; break; }
            }
        }
    }
    double el = now() - start;
    sort(lat, kept);
    double p50 = percentile_ms(lat, kept, .5), p99 = percentile_ms(lat, kept, .99);
    printf(json ? "{\"rps\": %.0f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"bad\": %ld, \"dead\": %ld, \"n\": %ld}\n"
                : "%.0f req/s  p50 %.3f ms  p99 %.3f ms  bad %ld  closed connections %ld  n %ld\n",
           done / el, p50, p99, bad, dead, done);
    return done && !dead ? 0 : 1;
}
