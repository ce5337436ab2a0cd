defmodule Crema.ParityTest do
  # What Erlang's users have, Elixir's have: each public function of a module that is documented.
  use ExUnit.Case, async: true

  # Where an Erlang module's functions are, by the same name and number of arguments unless told.
  @counterparts %{
    crema: {Crema, completed: :completed?},
    crema_producer: {Crema.Producer, []},
    crema_consumer: {Crema.Consumer, []},
    crema_reader: {Crema.Reader, []},
    crema_control: {Crema.Control, []},
    crema_cluster: {Crema.Cluster, []},
    crema_pool: {Crema.Pool, []},
    crema_check: {Crema.Check, []},
    crema_renewal: {Crema.Renewal, []},
    crema_sasl: {Crema.Sasl, []},
    crema_events: {Crema.Events, []},
    crema_event_table: {Crema.Events, []},
    crema_events_logger: {Crema.Events, attach: :attach_logger, detach: :detach_logger},
    crema_statistics: {Crema.Statistics, []},
    crema_dead_letter: {Crema.DeadLetter, []},
    crema_error: {Crema.Error, []},
    crema_test: {Crema.Test, []}
  }

  # What has none, and why.
  @exceptions %{
    # They are called by crema's own modules, or said elsewhere: Crema.disconnect/1, Crema.info/1.
    crema_producer: [disconnect: 1],
    crema_control: [is_where: 1],
    crema_events: [execute: 3, listening: 1, start_link: 0],
    crema_events_logger: [events: 0],
    # For documentation and tests of crema.
    crema_event_table: [fields: 1, doc: 0, check: 3],
    # What makes errors; hints/0 is for the documentation.
    crema_error: [
      make: 3,
      make: 4,
      from_kafka: 3,
      code: 1,
      hints: 0,
      badarg: 1,
      format_error: 2,
      text: 1
    ],
    crema_pool: [info: 1, status: 1]
  }

  # Modules without a counterpart: behaviours and values, which Elixir names as they are, and what
  # only crema's own modules call.
  @none [
    :crema_middleware,
    :crema_selector,
    :crema_serializer,
    :crema_validator,
    :crema_env,
    :crema_options,
    :crema_types,
    # A hook of Common Test: ExUnit has Crema.Test.start_cluster/1.
    :crema_cth
  ]

  @sources Path.wildcard(Path.expand("../../../src/**/*.erl", __DIR__))

  defp documented do
    for file <- @sources, not String.starts_with?(File.read!(file), "%% @private") do
      {file |> Path.basename(".erl") |> String.to_atom(), File.read!(file)}
    end
  end

  # Exported, and said to be something for users: `@doc`, on the lines before its specification.
  defp functions({module, source}) do
    for {name, arity} <- module.module_info(:exports),
        Regex.match?(~r/^%% @doc (?:.*\n(?:%%.*\n)*)?-spec #{name}\(/m, source),
        not excepted?(module, name, arity),
        do: {name, arity}
  end

  defp excepted?(module, name, arity),
    do: {name, arity} in Map.get(@exceptions, module, [])

  test "each documented module has a counterpart, or a reason to have none" do
    modules = for {module, _} <- documented(), do: module
    assert Enum.sort(modules) == Enum.sort(Map.keys(@counterparts) ++ @none)
  end

  for {module, {counterpart, names}} <- @counterparts do
    test "#{inspect(counterpart)} has what #{module} has" do
      {_, source} = List.keyfind(documented(), unquote(module), 0)
      Code.ensure_loaded!(unquote(counterpart))
      functions = functions({unquote(module), source})
      assert functions != []

      for {name, arity} <- functions do
        elixir = Keyword.get(unquote(names), name, name)

        assert function_exported?(unquote(counterpart), elixir, arity) or
                 macro_exported?(unquote(counterpart), elixir, arity),
               "#{unquote(module)}:#{name}/#{arity} has no counterpart"
      end
    end
  end

  test "whatever can fail has a function that raises, with the value in its specification" do
    {:ok, modules} = :application.get_key(:crema, :modules)

    # Kaffe's have what Kaffe has.
    for module <- modules,
        match?("Elixir.Crema" <> _, Atom.to_string(module)),
        not match?("Elixir.Crema.Kaffe" <> _, Atom.to_string(module)) do
      for {name, arity, spec} <- specs(module), Crema.Bang.fails?(spec) do
        bang = {:"#{name}!", arity}

        assert bang in module.__info__(:functions) or {module, name} in without_bang(),
               "#{inspect(module)}.#{name}/#{arity} has none"
      end
    end

    returns =
      Map.new(specs(Crema), fn {name, arity, spec} -> {{name, arity}, Macro.to_string(spec)} end)

    assert returns[{:produce!, 3}] == "report() | :skipped"
    assert returns[{:produce_async!, 3}] == "ref() | :ok"
    assert returns[{:flush!, 2}] == ":ok"
  end

  # It leaves the function of a transaction; and what goes on with a reader is the whole of it.
  defp without_bang, do: [{Crema, :abort}, {Crema.Reader, :next}]

  # What functions return, by their specifications.
  defp specs(module) do
    {:ok, specs} = Code.Typespec.fetch_specs(module)

    for {{name, arity}, [spec | _]} <- specs do
      {:"::", _, [_, returned]} =
        case Code.Typespec.spec_to_quoted(name, spec) do
          {:when, _, [plain, _]} -> plain
          plain -> plain
        end

      {name, arity, returned}
    end
  end

  test "each public function and module is described" do
    {:ok, modules} = :application.get_key(:crema, :modules)

    for module <- modules, match?("Elixir.Crema" <> _, Atom.to_string(module)) do
      assert {:docs_v1, _, :elixir, _, of_module, _, docs} = Code.fetch_docs(module)
      assert is_map(of_module) or of_module == :hidden, "#{inspect(module)} has no @moduledoc"

      if is_map(of_module) do
        specs = for {name, arity, _} <- specs(module), do: {name, arity}

        for {{:function, name, arity}, _, _, doc, meta} <- docs, doc != :hidden do
          assert is_map(doc) or Map.has_key?(meta, :delegate_to),
                 "#{inspect(module)}.#{name}/#{arity}"

          assert {name, arity} in specs or Map.has_key?(meta, :delegate_to) or
                   name in [:exception, :message],
                 "#{inspect(module)}.#{name}/#{arity} has no @spec"
        end
      end
    end
  end
end
