/* Poll Muster over coaps:// with a device certificate, and print the answer (CBOR) in hex.
 *   cc -O2 -Wall -o poll poll.c $(pkg-config --cflags --libs libcoap-3-openssl)
 *   ./poll ADDRESS PORT ROOT.pem CHAIN.pem KEY.pem
 * {"next": seconds} alone means that nothing is pending. A real device sleeps for that time, and reads the
 * other fields as defined in docs/reference/device-protocol/polling.md. */
#include <arpa/inet.h>
#include <coap3/coap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int done, status = 1;

static coap_response_t answered(coap_session_t *s, const coap_pdu_t *sent, const coap_pdu_t *got, const coap_mid_t id) {
    size_t length;
    const uint8_t *data;
    (void)s; (void)sent; (void)id;
    coap_pdu_code_t code = coap_pdu_get_code(got);
    printf("%d.%02d ", code >> 5, code & 31);
    if (coap_get_data(got, &length, &data))
        for (size_t i = 0; i < length; i++) printf("%02x", data[i]);
    putchar('\n');
    status = code == COAP_RESPONSE_CODE_CONTENT ? 0 : 1;
    done = 1;
    return COAP_RESPONSE_OK;
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: poll ADDRESS PORT ROOT CHAIN KEY\n"); return 2; }
    coap_startup();
    coap_context_t *context = coap_new_context(NULL);
    coap_address_t to;
    coap_address_init(&to);
    to.size = sizeof to.addr.sin;
    to.addr.sin.sin_family = AF_INET;
    to.addr.sin.sin_port = htons((unsigned short)atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &to.addr.sin.sin_addr);
    coap_dtls_pki_t pki = {.version = COAP_DTLS_PKI_SETUP_VERSION, .verify_peer_cert = 1, .check_common_ca = 0,
                           .allow_self_signed = 0, .allow_expired_certs = 0, .cert_chain_validation = 1,
                           .cert_chain_verify_depth = 3, .client_sni = "localhost"};
    pki.pki_key.key_type = COAP_PKI_KEY_PEM;
    pki.pki_key.key.pem.ca_file = argv[3];
    pki.pki_key.key.pem.public_cert = argv[4];
    pki.pki_key.key.pem.private_key = argv[5];
    coap_context_set_pki_root_cas(context, argv[3], NULL);
    coap_session_t *session = coap_new_client_session_pki(context, NULL, &to, COAP_PROTO_DTLS, &pki);
    if (!session) { fprintf(stderr, "no session\n"); return 1; }
    coap_register_response_handler(context, answered);
    coap_pdu_t *request = coap_new_pdu(COAP_MESSAGE_CON, COAP_REQUEST_CODE_GET, session);
    uint8_t token[4] = "muse";
    coap_add_token(request, sizeof token, token);
    coap_add_option(request, COAP_OPTION_URI_PATH, 2, (const uint8_t *)"v1");
    coap_add_option(request, COAP_OPTION_URI_PATH, 4, (const uint8_t *)"poll");
    coap_send(session, request);
    for (int waited = 0; !done && waited < 10000; waited += 100) coap_io_process(context, 100);
    coap_session_release(session);
    coap_free_context(context);
    coap_cleanup();
    return status;
}
