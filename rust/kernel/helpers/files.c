// SPDX-License-Identifier: GPL-2.0
/* Proc files. */

struct proc_dir_entry *thop_proc_net_mkdir(struct net *net, const char *name)
{
	return proc_net_mkdir(net, name, net->proc_net);
}

void *thop_pde_data(const struct file *file)
{
	return pde_data(file_inode(file));
}

struct seq_file *thop_seq(const struct file *file)
{
	return file->private_data;
}

void *thop_memdup_user(const void __user *from, size_t size)
{
	return vmemdup_user(from, size);
}
