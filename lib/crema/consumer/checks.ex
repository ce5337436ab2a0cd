defmodule Crema.Consumer.Checks do
  @moduledoc false
  # What can be known of a handler's module while it is compiled. What may be given to the child
  # as well is judged when that starts: group, topics and brokers may come later.

  # What the Elixir side adds.
  @own [:args | Crema.Options.of_child()]

  @callbacks [:handle_message, :handle_messages]

  # No other behaviour has functions of these names.
  @arities_told @callbacks ++ [:handle_assigned, :handle_revoked, :handle_lost]

  @doc "Judges what `use` is given, as far as it is written there: names, and values that are literals."
  @spec options!(Macro.t(), Macro.Env.t()) :: :ok
  def options!(opts, env) do
    given = for {name, value} <- written(opts), is_atom(name), name not in @own, do: {name, value}
    Enum.each(unknown(given) ++ wrong(given), &option_error!(&1, env))
  end

  @doc "Whether `use` says who handles the messages, or may do so."
  @spec handler?(Macro.t()) :: boolean
  def handler?(opts) do
    pairs = written(opts)
    if Enum.empty?(pairs), do: opts != [], else: List.keymember?(pairs, :handler, 0)
  end

  # The pairs of a keyword list or a map; of anything else it is known at run time only.
  defp written({:%{}, _, pairs}), do: written(pairs)
  defp written(opts), do: if(is_list(opts) and Enum.all?(opts, &pair?/1), do: opts, else: [])

  defp pair?(pair), do: match?({_name, _value}, pair)

  defp unknown(given) do
    names = Map.new(given, fn {name, _} -> {name, :given} end)
    :crema_option_faults.unknown(:consumer, :crema_options.table(), names)
  end

  defp wrong(given) do
    for %{name: name, scope: scope, type: type} <- :crema_options.table(),
        :consumer in scope,
        {^name, value} <- given,
        literal?(value),
        {value, _} = Code.eval_quoted(value),
        {:error, reason} <- [check(name, type, value)],
        do: %{option: name, reason: reason <> shown(type, value)}
  end

  # Handlers are modules, perhaps not compiled yet, and properties may be secrets.
  defp check(name, _type, _value) when name in [:handler, :kafka], do: :ok
  defp check(_name, type, value), do: :crema_option_type.check(type, value)

  # Of some types values may hold secrets.
  defp shown(type, value),
    do: if(:crema_option_type.shown(type), do: ", not #{inspect(value)}", else: "")

  # Names of modules are left alone: to look at them is to depend on them.
  defp literal?(ast) do
    {_, aliases?} = Macro.prewalk(ast, false, &{&1, &2 or match?({:__aliases__, _, _}, &1)})
    Macro.quoted_literal?(ast) and not aliases?
  end

  defp option_error!(%{option: option, reason: reason}, env) do
    # Atoms are written otherwise in Elixir than where the reason comes from.
    reason = String.replace(reason, ~r/mean (?:the atom )?(\w+)\?$/, "mean :\\1?")
    error!(env, "the option #{inspect(option)} of `use Crema.Consumer` #{reason}")
  end

  @doc "Called before the module is compiled: whether its `start_link/1` is its own is known then."
  defmacro __before_compile__(%{module: module}) do
    {:v1, _kind, meta, _clauses} = Module.get_definition(module, {:start_link, 1})
    own = meta[:context] != Crema.Consumer

    quote do
      @doc false
      def __crema_own_start__, do: unquote(own)
    end
  end

  @doc """
  Called when the module is compiled: it is to have what handles its messages. It need not be loaded.
  """
  @spec __after_compile__(Macro.Env.t(), binary) :: :ok
  def __after_compile__(env, bytecode) do
    {:ok, {_module, exports: functions}} = :beam_lib.chunks(bytecode, [:exports])
    Enum.each(functions, &arity!(&1, functions, env))

    if Enum.any?(@callbacks, &({&1, 2} in functions)),
      do: :ok,
      else: error!(env, "it defines neither handle_message/2 nor handle_messages/2" <> how())
  end

  # With another number of arguments it would never be called.
  defp arity!({name, arity}, functions, env) when name in @arities_told and arity != 2 do
    if {name, 2} not in functions,
      do: error!(env, "it defines #{name}/#{arity}, but a handler's #{name} has two arguments")
  end

  defp arity!(_function, _functions, _env), do: :ok

  defp how, do: " (a public function of the message, or of the batch, and of the state)"

  @spec error!(Macro.Env.t(), String.t()) :: no_return
  defp error!(%{module: module, file: file, line: line}, text) do
    description = "#{inspect(module)} is no handler as it stands: #{text}"
    raise CompileError, file: file, line: line, description: description
  end
end
