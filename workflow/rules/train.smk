# Mixtures become a trained network, one job per seed.


rule train:
    input:
        data=input_of,
        points=path("points"),
        src=sources("train"),
    output:
        # Checkpoints are no outputs: Snakemake deletes those before every attempt, and a stopped training resumes.
        # So does one that was killed before Snakemake had noted its outputs: `summarise` deletes its last checkpoint.
        model=path("model"),
        history=path("history"),
        summary=path("training"),
    log:
        log_of("train"),
    benchmark:
        benchmark_of("train")
    conda:
        "../../envs/gmcn.yaml"
    threads: 16
    resources:
        mem_mb=growing(16000),
        # The next attempt goes on from a checkpoint.
        runtime=1440,
        gpu=lambda wildcards: gpus() * math.prod(processes_of(wildcards).values()),
        # GPUs that are asked for together may lie on several nodes otherwise.
        nodes=lambda wildcards: processes_of(wildcards)["nodes"],
        mpi=tasks("mpi"),
        tasks_per_node=tasks("tasks_per_node"),
        tasks=tasks("tasks"),
        tasks_per_gpu=tasks("tasks_per_gpu"),
        cpus_per_task=tasks("cpus_per_task"),
    params:
        launch=launch,
        settings=settings("train"),
        folder=lambda wildcards, output: os.path.dirname(output.model),
        device=device,
        options=options,
    message:
        "Training {wildcards.variant} on {wildcards.dataset}, seed {wildcards.seed}, {threads} threads"
    shell:
        "{params.launch} --dataset {wildcards.dataset} --variant {wildcards.variant} --seed {wildcards.seed}"
        " --settings {params.settings:q} --input {input.data:q} --points {input.points:q} --output {params.folder:q}"
        " --device {params.device} --threads {threads} {params.options} --log {log:q}"
