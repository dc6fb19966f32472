// SPDX-License-Identifier: GPL-2.0
/* Locks and contexts. */

/* spin_lock_init() for a lock class that the caller has; what lockdep knows of without it is one class for all. */
void thop_spin_lock_init(spinlock_t *lock, const char *name, struct lock_class_key *key)
{
#if defined(CONFIG_DEBUG_SPINLOCK) && defined(CONFIG_PREEMPT_RT)
	__spin_lock_init(lock, name, key, false);
#elif defined(CONFIG_DEBUG_SPINLOCK)
	__raw_spin_lock_init(spinlock_check(lock), name, key, LD_WAIT_CONFIG);
#else
	spin_lock_init(lock);
#endif
}

void thop_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

void thop_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

/*
 * Locks what begins with a spinlock, so far into what @where points to, which RCU may free: that waits for whoever has
 * softirqs disabled. NULL: it points to nothing.
 */
void *thop_lock_bh_in(void *const *where, size_t offset)
{
	void *array;

	local_bh_disable();
	/* Paired with the exchange that has put it there: its locks are initialised. */
	array = smp_load_acquire(where);
	if (!array) {
		local_bh_enable();
		return NULL;
	}
	spin_lock((spinlock_t *)(array + offset));
	return array + offset;
}

void thop_spin_lock_nested(spinlock_t *lock)
{
	spin_lock_nested(lock, SINGLE_DEPTH_NESTING);
}

void thop_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

void thop_bh_disable(void)
{
	local_bh_disable();
}

void thop_bh_enable(void)
{
	local_bh_enable();
}

u64 thop_rcu_begin(void)
{
	return start_poll_synchronize_rcu();
}

bool thop_rcu_is_over(u64 cookie)
{
	return poll_state_synchronize_rcu(cookie);
}

void thop_smp_rmb(void)
{
	smp_rmb();
}
