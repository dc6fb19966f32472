// SPDX-License-Identifier: GPL-2.0
/* Module parameters. */

/* In the order of what thop_hash_is_keyed() answers. */
static const char *const thop_hashes[] = { "xor", "siphash" };
static bool thop_hash_keyed;

static int thop_hash_set(const char *val, const struct kernel_param *kp)
{
	int choice = sysfs_match_string(thop_hashes, val);

	if (choice < 0)
		return choice;
	*(bool *)kp->arg = choice;
	return 0;
}

static int thop_hash_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", thop_hashes[*(bool *)kp->arg]);
}

static const struct kernel_param_ops thop_hash_ops = {
	.set = thop_hash_set,
	.get = thop_hash_get,
};

/* This object is part of both modules, and so is the parameter. */
module_param_cb(hash, &thop_hash_ops, &thop_hash_keyed, 0444);
__MODULE_PARM_TYPE(hash, "word");
MODULE_PARM_DESC(hash, "How the table of connections is hashed: xor (the paper's key) or siphash (with a secret key)");

bool thop_hash_is_keyed(void)
{
	return thop_hash_keyed;
}
