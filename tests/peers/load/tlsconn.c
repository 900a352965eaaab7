/* tlsconn: one connection after the other, each with a handshake and one request, loopback only.
 *   tlsconn PORT PATH SECONDS CA_PEM CERT_PEM KEY_PEM VERSION(12|13) [-r] [-p PAUSE_US]
 * -r resumes the session of the connection before; -p waits between two connections. Prints one JSON line:
 * connections a second, how many were resumed, p50 and p99 of connect-to-answer in ms, failures.
 * Build: cc -O2 -Wall -Wextra -o tlsconn tlsconn.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SAMPLES 1000000

static void die(const char *what) { fprintf(stderr, "%s\n", what); ERR_print_errors_fp(stderr); exit(1); }

/* 1 when an answer with status 2xx or 3xx came whole */
static int answered(SSL *ssl) {
    char buf[8192];
    size_t used = 0;
    for (;;) {
        int k = SSL_read(ssl, buf + used, (int)(sizeof buf - used - 1));
        if (k <= 0) return 0;
        used += (size_t)k;
        buf[used] = 0;
        char *end = strstr(buf, "\r\n\r\n"), *length = strcasestr(buf, "content-length:");
        if (!end) continue;
        size_t wanted = (size_t)(end - buf) + 4 + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
        if (used >= wanted) return buf[9] == '2' || buf[9] == '3';
    }
}

int main(int argc, char **argv) {
    if (argc < 8) { fprintf(stderr, "usage: tlsconn PORT PATH SECONDS CA CERT KEY 12|13 [-r] [-p US]\n"); return 2; }
    int resume = 0, pause_us = 0;
    for (int i = 8; i < argc; i++) {
        if (!strcmp(argv[i], "-r")) resume = 1;
        if (!strcmp(argv[i], "-p") && i + 1 < argc) pause_us = atoi(argv[++i]);
    }
    SSL_CTX *x = SSL_CTX_new(TLS_client_method());
    int version = !strcmp(argv[7], "12") ? TLS1_2_VERSION : TLS1_3_VERSION;
    if (!x || !SSL_CTX_load_verify_locations(x, argv[4], NULL)) die("CA");
    SSL_CTX_set_verify(x, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(x, version);
    SSL_CTX_set_max_proto_version(x, version);
    SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_CLIENT);
    if (SSL_CTX_use_certificate_chain_file(x, argv[5]) != 1 || SSL_CTX_use_PrivateKey_file(x, argv[6], SSL_FILETYPE_PEM) != 1) die("certificate");
    char req[1024];
    int reqlen = snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    float *lat = malloc(MAX_SAMPLES * sizeof *lat);
    long done = 0, kept = 0, resumed = 0, bad = 0;
    SSL_SESSION *session = NULL;
    double start = now(), end = start + atof(argv[3]);
    while (now() < end) {
        double begun = now();
        int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (void *)&a, sizeof a)) { perror("connect"); return 1; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        SSL *ssl = SSL_new(x);
        SSL_set_fd(ssl, fd);
        if (resume && session) SSL_set_session(ssl, session);
        if (SSL_connect(ssl) == 1 && SSL_write(ssl, req, reqlen) == reqlen && answered(ssl)) {
            done++;
            resumed += SSL_session_reused(ssl);
            if (kept < MAX_SAMPLES) lat[kept++] = (float)(now() - begun);
            if (resume) { if (session) SSL_SESSION_free(session); session = SSL_get1_session(ssl); }
            SSL_shutdown(ssl);
        } else bad++;
        SSL_free(ssl);
        close(fd);
        if (pause_us) usleep((useconds_t)pause_us);
    }
    double el = now() - start;
    sort(lat, kept);
    printf("{\"rps\": %.1f, \"n\": %ld, \"resumed\": %ld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"bad\": %ld}\n", done / el, done, resumed,
           percentile_ms(lat, kept, .5), percentile_ms(lat, kept, .99), bad);
    return done ? 0 : 1;
}
