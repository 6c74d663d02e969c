#!/usr/bin/env bash
# One training over several machines of a SLURM cluster: sbatch deploy/slurm.sh
#
# Images and labels lie at the same place on every machine; the run folder is on a disk that all of them see,
# or on that of the first alone. SLURM starts the job anew after a node has failed (--requeue), and the same
# command goes on from the last snapshot.
#SBATCH --job-name=reteach
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

images=${IMAGES:-/data/images}
labels=${LABELS:-/data/labels.csv}
out=${OUT:-/scratch/runs/mile}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# a rank that is lost: torchrun starts all of them again, which go on from the last snapshot
srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node 8 \
    --max-restarts 3 \
    --rdzv-backend c10d \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-endpoint "$first:29500" \
    -m reteach train mile \
    --images "$images" --labels "$labels" --out "$out" \
    --model resnet50 --batch-size 1024 --workers 7 --snapshot-seconds 300
