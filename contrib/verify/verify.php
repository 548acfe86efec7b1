#!/usr/bin/env php
<?php
// SPDX-License-Identifier: AGPL-3.0-or-later
// Checks an X-Reeve-Assertion. See README for the order of the checks.
declare(strict_types=1);

const REEVE_LEEWAY = 5;
const REEVE_LIFE_MAX = 300;

class ReeveRefused extends Exception {}

function reeve_unbase64(string $text): string
{
    if (!preg_match('/\A[A-Za-z0-9_-]+\z/', $text) || strlen($text) % 4 === 1) {
        throw new ReeveRefused('not base64url');
    }
    return base64_decode(strtr($text, '-_', '+/'), false);
}

function reeve_unjson(string $text): array
{
    $raw = reeve_unbase64($text);
    $out = json_decode($raw, true, 16);
    if (!is_array($out) || ltrim($raw)[0] !== '{') {
        throw new ReeveRefused('not a JSON object');
    }
    return $out;
}

/** A DER INTEGER of an unsigned number. */
function reeve_der_int(string $bytes): string
{
    $bytes = ltrim($bytes, "\0");
    if ($bytes === '' || ord($bytes[0]) & 0x80) {
        $bytes = "\0" . $bytes;
    }
    return "\x02" . chr(strlen($bytes)) . $bytes;
}

/** Returns the claims, or throws ReeveRefused. $jwks is the decoded key set. */
function reeve_verify(string $token, array $jwks, string $issuer, string $audience,
                      ?string $method = null, ?string $path = null, ?int $now = null): array
{
    $parts = explode('.', $token);
    if (count($parts) !== 3) {
        throw new ReeveRefused('not three parts');
    }
    $head = reeve_unjson($parts[0]);
    $claims = reeve_unjson($parts[1]);
    if (($head['alg'] ?? null) !== 'ES256' || array_key_exists('crit', $head)) {
        throw new ReeveRefused('alg is not ES256, or there is a crit');
    }
    $key = null;
    foreach ($jwks['keys'] as $k) {
        if (isset($k['kid'], $head['kid']) && $k['kid'] === $head['kid']) {
            $key = $k;
        }
    }
    if ($key === null || $key['kty'] !== 'EC' || $key['crv'] !== 'P-256') {
        throw new ReeveRefused('no such key');
    }
    $sig = reeve_unbase64($parts[2]);
    $x = reeve_unbase64($key['x']);
    $y = reeve_unbase64($key['y']);
    if (strlen($sig) !== 64 || strlen($x) !== 32 || strlen($y) !== 32) {
        throw new ReeveRefused('the signature or the key has the wrong size');
    }
    // SubjectPublicKeyInfo of a P-256 key (RFC 5480), and the signature as DER (RFC 3279).
    $spki = hex2bin('3059301306072a8648ce3d020106082a8648ce3d030107034200') . "\x04" . $x . $y;
    $pem = "-----BEGIN PUBLIC KEY-----\n" . chunk_split(base64_encode($spki), 64) . "-----END PUBLIC KEY-----\n";
    $body = reeve_der_int(substr($sig, 0, 32)) . reeve_der_int(substr($sig, 32));
    $der = "\x30" . chr(strlen($body)) . $body;
    if (openssl_verify("$parts[0].$parts[1]", $der, $pem, OPENSSL_ALGO_SHA256) !== 1) {
        throw new ReeveRefused('the signature does not hold');
    }
    if (($claims['iss'] ?? null) !== $issuer || ($claims['aud'] ?? null) !== $audience) {
        throw new ReeveRefused('for another host or service');
    }
    $now ??= time();
    $iat = $claims['iat'] ?? null;
    $exp = $claims['exp'] ?? null;
    if (!is_int($iat) || !is_int($exp) || $exp - $iat > REEVE_LIFE_MAX) {
        throw new ReeveRefused('no proper lifetime');
    }
    if ($now < $iat - REEVE_LEEWAY || $now >= $exp + REEVE_LEEWAY) {
        throw new ReeveRefused('expired, or not yet valid');
    }
    if ($method !== null && (($claims['htm'] ?? null) !== $method || ($claims['htp'] ?? null) !== $path)) {
        throw new ReeveRefused('for another request');
    }
    return $claims;
}

if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    try {
        $jwks = json_decode(file_get_contents($argv[1]), true);
        echo json_encode(reeve_verify(trim(stream_get_contents(STDIN)), $jwks, ...array_slice($argv, 2))), "\n";
    } catch (ReeveRefused $e) {
        fwrite(STDERR, 'refused: ' . $e->getMessage() . "\n");
        exit(1);
    }
}
