// SPDX-License-Identifier: GPL-2.0
/* Memory. */

void *thop_kvzalloc(size_t size)
{
	/* Charged to who needs a table in a network namespace, who may be anybody. */
	return kvzalloc(size, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
}

struct kmem_cache *thop_cache_create(const char *name, unsigned int size, unsigned int align)
{
	/* Not merged with other caches of that size, so that /proc/slabinfo tells the truth. */
	return kmem_cache_create(name, size, align, SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE, NULL);
}

void *thop_cache_alloc(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_ATOMIC | __GFP_NOWARN);
}

u64 __percpu *thop_counters_alloc(unsigned int count)
{
	return __alloc_percpu(count * sizeof(u64), sizeof(u64));
}

void thop_counter_add(u64 __percpu *counters, unsigned int index, u64 value)
{
	this_cpu_add(counters[index], value);
}

u64 thop_counter_sum(u64 __percpu *counters, unsigned int index)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(&counters[index], cpu));
	return sum;
}
