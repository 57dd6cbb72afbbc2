#!/bin/bash
# Train on two nodes of a Slurm cluster: sbatch examples/cluster/slurm.sh, in a clone on a file system that all nodes see.
#
# Checked: by bash -n, and the commands below srun on two processes of one machine. Not run on a cluster.
#
# Prepare once, on a login node, while it has a network:
#   make setup && . .venv/bin/activate && dvc repro tokenizer
# Afterwards, record the result and validate it:
#   dvc commit --force train && dvc repro
#SBATCH --job-name=minimal-llm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
#SBATCH --output=slurm-%j.log
#SBATCH --signal=TERM@120
#SBATCH --requeue
# With GPUs, and a build of torch for them: one process for each.
##SBATCH --gpus-per-node=8
set -euo pipefail

PER_NODE=${SLURM_GPUS_ON_NODE:-2}
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
. .venv/bin/activate

# Two minutes before its time is over, the job gets a SIGTERM: every process stops after the same step, the first one
# saves, and the job that Slurm queues again resumes from there.
exec srun torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node "$PER_NODE" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$HEAD:29500" \
    stages/train.py --processes $((SLURM_NNODES * PER_NODE))
