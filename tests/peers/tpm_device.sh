#!/bin/bash
# A device with a TPM 2.0, emulated by swtpm, driven with tpm2-tools. State and exchange files lie in DIR.
# usage: tpm_device.sh COMMAND DIR [ARGS]
#   make DIR                 manufacture: TPM state, EK certificates (RSA-2048 and P-384) from a test vendor CA, EK and AK
#                            -> ekcert.der ek.pub (TPM2B_PUBLIC) ak.pub (TPM2B_PUBLIC) ak.name ak.pem vendor-ca.pem request.json
#   activate DIR BLOB        TPM2_ActivateCredential on BLOB = TPM2B_ID_OBJECT || TPM2B_ENCRYPTED_SECRET -> secret.bin (printed as hex)
#   quote DIR NONCEHEX [PCRS]  TPM2_Quote over sha256:PCRS (default 0,7) -> quote.msg quote.sig quote.pcr quote.json
#                            env EXTEND="PCR:HEX64 ..." extends first (every command is a fresh boot, PCRs start at zero)
#   newkey DIR NAME          a P-256 signing key that never leaves the TPM -> NAME.pub NAME.priv NAME.pem,
#                            and the AK's certification of it -> NAME.attest NAME.attsig NAME.json
#   sign DIR NAME FILE OUT   ECDSA-SHA256 over FILE with that key (DER signature: usable in a hand-made CSR)
# env: EKALG=rsa|ecc (rsa: RSA-2048 EK, ecc: P-256 EK, see README), PORT (2421; PORT+1 is used too), LIFE (60 s per command)
# Each command starts swtpm on loopback, ends it by its own pid, and prints PASS/FAIL.
set -eu
[ $# -ge 2 ] || { sed -n '2,15p' "$0"; echo "FAIL tpm_device: usage"; exit 2; }
CMD=$1; D=$(realpath -m "$2"); shift 2; PORT=${PORT:-2421}; EKALG=${EKALG:-rsa}
fail() { echo "FAIL tpm_device $CMD: $*"; exit 1; }
abs() { realpath -m "$1"; }
b64() { base64 -w0 "$1"; }
stop() {          # an orderly TPM2_Shutdown: power cuts without one count as failed authorisations (DA lockout, 0x921)
  [ -f "$D/swtpm.pid" ] || return 0
  tpm2_shutdown -c >/dev/null 2>&1 || true
  kill "$(cat "$D/swtpm.pid")" 2>/dev/null || true
  for _ in $(seq 30); do kill -0 "$(cat "$D/swtpm.pid" 2>/dev/null || echo 0)" 2>/dev/null || break; sleep 0.1; done
  rm -f "$D/swtpm.pid"; }
start() {
  timeout -s TERM "${LIFE:-60}" swtpm socket --tpm2 --tpmstate dir="$D/state" --server type=tcp,port="$PORT",bindaddr=127.0.0.1 \
    --ctrl type=tcp,port=$((PORT+1)),bindaddr=127.0.0.1 --flags startup-clear --pid file="$D/swtpm.pid" > "$D/swtpm.log" 2>&1 &
  trap stop EXIT
  export TPM2TOOLS_TCTI="swtpm:host=127.0.0.1,port=$PORT"
  for _ in $(seq 50); do [ -s "$D/swtpm.pid" ] && tpm2_getcap properties-fixed >/dev/null 2>&1 && return 0; sleep 0.1; done
  cat "$D/swtpm.log"; fail "swtpm did not start on port $PORT"
}
flush() { tpm2_flushcontext -t >/dev/null 2>&1 || true; tpm2_flushcontext -l >/dev/null 2>&1 || true; tpm2_flushcontext -s >/dev/null 2>&1 || true; }
load_ek_ak() {     # the EK is re-derived from its template, the AK is reloaded from its saved blobs under it
  flush; tpm2_createek -c ek.ctx -G "$EKALG" -u ek.pub >/dev/null; flush
  [ -f ak.priv ] || { tpm2_createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -r ak.priv -n ak.name >/dev/null; flush; }
  tpm2_startauthsession --policy-session -S s.ctx >/dev/null; tpm2_policysecret -S s.ctx -c e >/dev/null
  tpm2_load -C ek.ctx -u ak.pub -r ak.priv -n ak.name -c ak.ctx -P session:s.ctx >/dev/null
  tpm2_flushcontext s.ctx >/dev/null; flush
}
case $CMD in make) ;; *) [ -f "$D/ekalg" ] || fail "no TPM in $D (run make first)"; cd "$D"; EKALG=$(cat ekalg);; esac

case $CMD in
make)
  [ ! -e "$D/state" ] || fail "$D/state exists, remove it first"
  mkdir -p "$D/state" "$D/vendor"; cd "$D"; echo "$EKALG" > ekalg
  printf 'statedir = %s\nsigningkey = %s/signkey.pem\nissuercert = %s/issuercert.pem\ncertserial = %s/certserial\n' "$D/vendor" "$D/vendor" "$D/vendor" "$D/vendor" > localca.conf
  printf -- '--platform-manufacturer TestVendor\n--platform-version 1.0\n--platform-model Edge1\n' > localca.options
  printf 'create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\nactive_pcr_banks = sha256\n' \
    "$(command -v swtpm_localca)" "$D/localca.conf" "$D/localca.options" > setup.conf
  # RSA state also gets an EC storage key; --ecc makes the EC EK P-384 (NV 0x1C00016) beside the RSA one (NV 0x1C00002)
  swtpm_setup --tpm2 --tpmstate "$D/state" --config setup.conf --create-ek-cert --create-platform-cert --overwrite --log setup.log \
    >/dev/null 2>&1 || { tail -5 setup.log; fail "swtpm_setup"; }
  start; load_ek_ak
  for i in 0x1c00002 0x1c0000a 0x1c00016; do tpm2_nvread "$i" -o "ekcert-$i.der" >/dev/null 2>&1 || rm -f "ekcert-$i.der"; done
  tpm2_readpublic -c ek.ctx -f pem -o ek.pem >/dev/null; flush
  tpm2_readpublic -c ak.ctx -f pem -o ak.pem >/dev/null; flush
  rm -f ekcert.der     # the certificate whose key is this EK
  for f in ekcert-*.der; do
    [ -f "$f" ] && openssl x509 -inform der -in "$f" -noout -pubkey 2>/dev/null | openssl pkey -pubin -outform der 2>/dev/null | cmp -s - <(openssl pkey -pubin -in ek.pem -outform der) && cp "$f" ekcert.der; done
  cat vendor/issuercert.pem vendor/swtpm-localca-rootca-cert.pem > vendor-ca.pem 2>/dev/null || true
  [ -f ekcert.der ] || echo "note: no EK certificate for this EK type (expected with EKALG=ecc)"
  { printf '{"ek_cert":"%s","ek_public":"%s","ak_public":"%s","ak_name":"%s"}\n' \
     "$([ -f ekcert.der ] && b64 ekcert.der || true)" "$(b64 ek.pub)" "$(b64 ak.pub)" "$(b64 ak.name)"; } > request.json
  echo "PASS tpm_device make: $EKALG EK, AK name $(xxd -p -c 99 ak.name)";;
activate)
  B=$(cd "$OLDPWD" && abs "$1"); start; load_ek_ak
  # tpm2-tools frames the two TPM2B structures with magic 0xBADCC0DE and version 1
  if [ "$(head -c 4 "$B" | xxd -p)" = badcc0de ]; then cp "$B" cred.framed; else { printf '\272\334\300\336\000\000\000\001'; cat "$B"; } > cred.framed; fi
  rm -f secret.bin; tpm2_startauthsession --policy-session -S s.ctx >/dev/null; tpm2_policysecret -S s.ctx -c e >/dev/null
  tpm2_activatecredential -c ak.ctx -C ek.ctx -i cred.framed -o secret.bin -P session:s.ctx >/dev/null 2> activate.err || { tail -2 activate.err; fail "the TPM refused the credential"; }
  xxd -p -c 99 secret.bin; echo "PASS tpm_device activate: secret.bin";;
quote)
  start; load_ek_ak; PCRS=${2:-0,7}
  for e in ${EXTEND:-}; do tpm2_pcrextend "${e%%:*}:sha256=${e#*:}"; done
  tpm2_quote -c ak.ctx -l "sha256:$PCRS" -q "$1" -m quote.msg -s quote.sig -o quote.pcr -g sha256 > quote.txt; flush
  printf '{"nonce":"%s","attest":"%s","signature":"%s","pcrs":"%s"}\n' "$1" "$(b64 quote.msg)" "$(b64 quote.sig)" "$PCRS" > quote.json
  tpm2_pcrread "sha256:$PCRS" > pcrs.txt
  echo "PASS tpm_device quote: quote.msg (TPMS_ATTEST) quote.sig (TPMT_SIGNATURE)";;
newkey)
  start; load_ek_ak; N=$1
  tpm2_createprimary -C o -c prim.ctx -G ecc >/dev/null; flush
  tpm2_create -C prim.ctx -G ecc -u "$N.pub" -r "$N.priv" -a "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign" >/dev/null; flush
  tpm2_load -C prim.ctx -u "$N.pub" -r "$N.priv" -c "$N.ctx" >/dev/null; flush
  tpm2_readpublic -c "$N.ctx" -f pem -o "$N.pem" >/dev/null; flush
  tpm2_certify -c "$N.ctx" -C ak.ctx -g sha256 -o "$N.attest" -s "$N.attsig" >/dev/null; flush
  printf '{"public":"%s","attest":"%s","signature":"%s"}\n' "$(b64 "$N.pub")" "$(b64 "$N.attest")" "$(b64 "$N.attsig")" > "$N.json"
  echo "PASS tpm_device newkey: $N.pem certified by the AK ($N.json)";;
sign)
  F=$(cd "$OLDPWD" && abs "$2"); O=$(cd "$OLDPWD" && abs "$3"); start; flush
  tpm2_createprimary -C o -c prim.ctx -G ecc >/dev/null; flush
  tpm2_load -C prim.ctx -u "$1.pub" -r "$1.priv" -c "$1.ctx" >/dev/null; flush
  tpm2_sign -c "$1.ctx" -g sha256 -s ecdsa -f plain -o "$O" "$F"; flush
  openssl dgst -sha256 -verify "$1.pem" -signature "$O" "$F" >/dev/null || fail "signature"
  echo "PASS tpm_device sign: $O";;
*) fail "unknown command";;
esac
