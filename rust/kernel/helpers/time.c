// SPDX-License-Identifier: GPL-2.0
/* Time. */

u64 thop_now_ms(void)
{
	/* It goes on while the machine is suspended; as fine as a tick. */
	return ktime_to_ms(ktime_get_coarse_boottime());
}

unsigned long thop_ms_to_jiffies(unsigned int ms)
{
	return msecs_to_jiffies(ms);
}
