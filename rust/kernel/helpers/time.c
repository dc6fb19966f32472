// SPDX-License-Identifier: GPL-2.0
/* Time. */

u64 thop_now_ms(void)
{
	return jiffies64_to_msecs(get_jiffies_64());
}

unsigned long thop_ms_to_jiffies(unsigned int ms)
{
	return msecs_to_jiffies(ms);
}
