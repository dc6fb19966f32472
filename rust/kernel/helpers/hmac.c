// SPDX-License-Identifier: GPL-2.0
/* Keyed hashes, and secrets. */

void thop_hmac_init(struct hmac_sha256_ctx *ctx, const struct hmac_sha256_key *key)
{
	hmac_sha256_init(ctx, key);
}

void thop_hmac_update(struct hmac_sha256_ctx *ctx, const u8 *data, size_t len)
{
	hmac_sha256_update(ctx, data, len);
}

bool thop_differs(const void *a, const void *b, size_t len)
{
	return crypto_memneq(a, b, len);
}

void thop_wipe(void *secret, size_t len)
{
	memzero_explicit(secret, len);
}
