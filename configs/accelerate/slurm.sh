#!/usr/bin/env bash
# Several nodes under Slurm; change nodes, GPUs per node and time below to what you have, and
#   sbatch configs/accelerate/slurm.sh configs/gpt-64m.yaml pretrain.max_steps=20000
# One launcher a node, all with the same words; they meet at the first node. Two minutes before the time is up Slurm
# sends USR1 to this script: training saves and leaves, and the job is put in again, to go on from there.
#SBATCH --job-name=yaya
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

CONFIG=${CONFIG:-configs/accelerate/nodes_c10d.yaml}   # or nodes_zero2.yaml
VERB=${VERB:-train}                                    # or finetune
PER_NODE=${SLURM_GPUS_ON_NODE:-1}
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((20000 + SLURM_JOB_ID % 20000))

# The launcher hands USR1 on to its workers, and gives them until the end to save.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110

srun --kill-on-bad-exit=1 .venv/bin/accelerate launch --config_file "$CONFIG" \
  --num_machines "$SLURM_NNODES" --num_processes "$((SLURM_NNODES * PER_NODE))" \
  --main_process_ip "$HEAD" --main_process_port "$PORT" \
  train.py "$VERB" "$@" &
step=$!

told=0
trap 'told=1; kill -USR1 "$step"' USR1
wait "$step"; code=$?
while kill -0 "$step" 2> /dev/null; do wait "$step"; code=$?; done   # a signal ends a wait, not the step

if [ "$told" = 1 ] && [ "$code" != 0 ]; then   # 0: it finished while saving
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
