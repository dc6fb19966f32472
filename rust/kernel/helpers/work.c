// SPDX-License-Identifier: GPL-2.0
/* Work. */

void thop_delayed_work_init(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

bool thop_delayed_work_in(struct delayed_work *work, unsigned long delay)
{
	return mod_delayed_work(system_percpu_wq, work, delay);
}
