#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, to try sweeps on before a real one:
#   scripts/slurm_here.sh start [FOLDER]   starts it; its state and its configuration are in FOLDER (default: /tmp/slurm_here)
#   scripts/slurm_here.sh stop [FOLDER]    stops it
# Needs root and Debian's packages: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
# Jobs of the partitions low and low_with_grace give way to those of high, to see how preempted runs go on.
# Afterwards: export SLURM_CONF=FOLDER/slurm.conf
set -euo pipefail

action=${1:-}
folder=$(realpath -m "${2:-/tmp/slurm_here}")
host=$(hostname -s)

stop() {
    # munged goes last: without it nobody can tell the others anything.
    if [ -f "$folder/slurm.conf" ] && [ -f "$folder/slurmctld.pid" ]; then
        export SLURM_CONF="$folder/slurm.conf"
        scancel --full --signal=KILL --state=RUNNING 2>/dev/null || true
        scancel --state=PENDING 2>/dev/null || true
        for _ in $(seq 100); do
            [ -n "$(squeue --noheader 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    for name in slurmd slurmctld munged; do
        [ -f "$folder/$name.pid" ] || continue
        pid=$(cat "$folder/$name.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 50); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
    rm -f "$folder"/*.pid "$folder/munge.socket"*
}

start() {
    for program in munged slurmctld slurmd; do
        if ! command -v "$program" >/dev/null; then
            echo "slurm_here: $program is missing; apt-get install slurmctld slurmd slurm-client munge" >&2
            exit 1
        fi
    done
    if [ "$(id -u)" -ne 0 ]; then
        echo "slurm_here: root is needed: Slurm starts jobs for other users." >&2
        exit 1
    fi
    mkdir -p "$folder/state" "$folder/spool"
    chmod 755 "$folder"
    if [ ! -f "$folder/munge.key" ]; then
        head -c 1024 /dev/urandom >"$folder/munge.key"
        chmod 400 "$folder/munge.key"
    fi
    # Free ports, so that a cluster that is here already is left alone.
    read -r controller node < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))')
    # At least two, so that jobs can run side by side; not nproc, which takes OMP_NUM_THREADS for their number.
    cpus=$(getconf _NPROCESSORS_ONLN)
    [ "$cpus" -ge 2 ] || cpus=2
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat >"$folder/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller
SlurmdPort=$node
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
MinJobAge=60
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=$host MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=low_with_grace Nodes=$host MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=$host MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    export SLURM_CONF="$folder/slurm.conf"
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF" -N "$host"
    for _ in $(seq 100); do
        if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.2
    done
    echo "slurm_here: the node did not come up; see $folder/slurmctld.log and slurmd.log" >&2
    exit 1
}

case "$action" in
start) start ;;
stop) stop ;;
*)
    sed -n '2,7p' "$0" | cut -c3-
    exit 1
    ;;
esac
