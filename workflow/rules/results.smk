# Trained networks become numbers, and all numbers of a result one JSON.


rule evaluate:
    input:
        data=input_of,
        models=of_seeds("model"),
        points=voted_points,
        src=sources("evaluate"),
    output:
        summary=path("evaluation"),
        picture=report(
            path("confusion"),
            caption="../report/confusion.rst",
            category="Confusion",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
        mistakes=report(
            path("mistakes"),
            caption="../report/mistakes.rst",
            category="Mistakes",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
    log:
        log_of("evaluate"),
    benchmark:
        benchmark_of("evaluate")
    wildcard_constraints:
        variant=variants_for(DEFAULT_TASK),
    conda:
        "../../envs/gmcn.yaml"
    threads: 16
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=gpus(),
        turn=gpus(),
    params:
        stage="evaluate",
        settings=settings("evaluate"),
        device=device,
        options=options,
    message:
        "Evaluating {wildcards.variant} on {wildcards.dataset}"
    shell:
        "python -m gmcn {params.stage} --dataset {wildcards.dataset} --variant {wildcards.variant}"
        " --settings {params.settings:q} --input {input.data:q} --models {input.models:q}"
        " --output {output.summary:q} --device {params.device} --threads {threads} {params.options} --log {log:q}"


# The pictures of other tasks have other names.
use rule evaluate as evaluate_task with:
    input:
        data=input_of,
        models=of_seeds("model"),
        outliers=other_points,
        src=sources("evaluate"),
    output:
        summary=path("evaluation"),
        pictures=report(
            directory(path("pictures")),
            patterns=["{picture}.png"],
            category="Pictures",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
    wildcard_constraints:
        variant=variants_for(*(task for task in TASKS if task != DEFAULT_TASK)),


use rule evaluate as probe with:
    input:
        data=input_of,
        models=of_seeds("model"),
        src=sources("probe"),
    output:
        summary=path("rmse"),
    log:
        log_of("probe"),
    benchmark:
        benchmark_of("probe")
    wildcard_constraints:
        variant=variants_for(*TASKS),
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=gpus(),
        turn=gpus(),
    params:
        stage="probe",
        settings=settings("probe"),
        device=device,
        options=options,
    message:
        "Measuring the fitting errors of {wildcards.variant} on {wildcards.dataset}"


use rule evaluate as dynamics with:
    input:
        data=input_of,
        models=of_seeds("model"),
        src=sources("dynamics"),
    output:
        summary=path("dynamics"),
        picture=report(
            path("measure"),
            caption="../report/measure.rst",
            category="Measures",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
    log:
        log_of("dynamics"),
    benchmark:
        benchmark_of("dynamics")
    wildcard_constraints:
        variant=variants_for(*TASKS),
    resources:
        mem_mb=growing(16000),
        runtime=growing(120),
        gpu=gpus(),
        turn=gpus(),
    params:
        stage="dynamics",
        settings=settings("dynamics"),
        device=device,
        options=options,
    message:
        "Measuring how the mixtures move of {wildcards.variant} on {wildcards.dataset}"


use rule evaluate as samples with:
    input:
        data=input_of,
        models=of_seeds("model"),
        classifier=classifier_of,
        src=sources("samples"),
    output:
        summary=path("samples"),
        picture=report(
            path("compared-samples"),
            caption="../report/bins.rst",
            category="Samples",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
    log:
        log_of("samples"),
    benchmark:
        benchmark_of("samples")
    wildcard_constraints:
        variant=variants_for(*TASKS),
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=gpus(),
        turn=gpus(),
    params:
        stage="samples",
        settings=settings("samples"),
        device=device,
        options=options,
    message:
        "Comparing what {wildcards.variant} draws with {wildcards.dataset}"


use rule evaluate as footprint with:
    input:
        data=input_of,
        models=of_seeds("model"),
        src=sources("footprint"),
    output:
        summary=path("footprint"),
    log:
        log_of("footprint"),
    benchmark:
        benchmark_of("footprint")
    wildcard_constraints:
        variant=variants_for(*TASKS),
    resources:
        mem_mb=growing(16000),
        runtime=growing(60),
        gpu=gpus(),
        turn=gpus(),
    params:
        stage="footprint",
        settings=settings("footprint"),
        device=device,
        options=options,
    message:
        "Measuring the memory of {wildcards.variant} on {wildcards.dataset}"


rule rival:
    input:
        points=path("points"),
        src=sources("rival"),
    output:
        path("rival"),
    log:
        log_of("rival"),
    # No benchmark, as for fits; the result has the seconds.
    cache: CACHE
    conda:
        "../../envs/gmcn.yaml"
    threads: 4
    resources:
        mem_mb=growing(6000),
        runtime=growing(60),
    params:
        dataset="{dataset}",
        rival="{rival}",
        software=software,
        options=options,
    message:
        "Comparing with {wildcards.rival} on {wildcards.dataset}"
    shell:
        "python -m gmcn rival --dataset {params.dataset} --rival {params.rival} --points {input.points:q}"
        " --output {output:q} --threads {threads} {params.options} --log {log:q}"


rule summarise:
    input:
        unpack(measures_of),
        points=path("points"),
        data=input_of,
        training=of_seeds("training"),
        evaluation=path("evaluation"),
        src=sources("summarise"),
    output:
        result=report(
            path("result"),
            caption="../report/result.rst",
            category="Results",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
        curves=report(
            path("curves"),
            caption="../report/curves.rst",
            category="Learning curves",
            labels={"data set": "{dataset}", "variant": "{variant}"},
        ),
    log:
        log_of("summarise"),
    benchmark:
        benchmark_of("summarise")
    conda:
        "../../envs/gmcn.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        settings=settings("summarise"),
        measures=lambda wildcards: shlex.join(
            f"--{name}={file}" for name, file in measures_of(wildcards).items()
        ),
        options=options,
    message:
        "Summarising {wildcards.variant} on {wildcards.dataset}"
    shell:
        "python -m gmcn summarise --dataset {wildcards.dataset} --variant {wildcards.variant}"
        " --settings {params.settings:q} --points {input.points:q} --input {input.data:q}"
        " --training {input.training:q} --evaluation {input.evaluation:q} {params.measures}"
        " --output {output.result:q} {params.options} --log {log:q}"
