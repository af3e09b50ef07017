# Points or images become mixtures of Gaussians, one per shape.


rule fit:
    input:
        points=path("points"),
        model=network_of_fit,
        src=sources("fit"),
    output:
        mixtures=path("mixtures"),
        quality=path("quality"),
    log:
        log_of("fit"),
    # No benchmark, as for downloads; the quality has the seconds.
    cache: CACHE
    conda:
        "../../envs/gmcn.yaml"
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        dataset="{dataset}",
        fit="{fit}",
        settings=settings("fit"),
        software=software,
        model=lambda wildcards, input: (
            f" --model {shlex.quote(input.model)}" if input.model else ""
        ),
        options=options,
    message:
        "Fitting {wildcards.fit} to {wildcards.dataset}"
    shell:
        "python -m gmcn fit --dataset {params.dataset} --fit {params.fit} --settings {params.settings:q}"
        " --points {input.points:q}{params.model} --output {output.mixtures:q} --threads {threads} {params.options} --log {log:q}"
