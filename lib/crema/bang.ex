defmodule Crema.Bang do
  @moduledoc false
  # Gives a module a function with `!` for each public one that can fail, as its specification
  # says: one that returns `error` among others. Name, arguments, defaults and specification are
  # taken from it, so that neither is written twice.
  #
  #     use Crema.Bang, except: [next: 1]

  defmacro __using__(opts) do
    quote do
      @crema_bang_except unquote(Keyword.get(opts, :except, []))
      @before_compile Crema.Bang
    end
  end

  defmacro __before_compile__(env) do
    except = Module.get_attribute(env.module, :crema_bang_except)

    for {name, arity, spec} <- failing(env.module), {name, arity} not in except do
      define(env.module, name, arity, spec)
    end
  end

  @doc "What a function with `!` makes of a result."
  @spec unwrap!(term) :: term
  def unwrap!({:ok, value}), do: value
  def unwrap!({:ok, value, more}), do: {value, more}
  def unwrap!({:error, reason}), do: raise(Crema.Error, reason)
  def unwrap!(other), do: other

  @doc "Whether the type that a function returns has an error in it."
  @spec fails?(Macro.t()) :: boolean
  def fails?(type), do: Enum.any?(union(type), &error?/1)

  # Functions with `error` in what they return, with their specifications.
  defp failing(module) do
    for {:spec, spec, _} <- Module.get_attribute(module, :spec),
        {:"::", _, [{name, _, args}, returned]} = plain <- [without_when(spec)],
        fails?(returned),
        do: {name, length(args || []), {spec, plain}}
  end

  defp without_when({:when, _, [spec, _]}), do: spec
  defp without_when(spec), do: spec

  defp define(module, name, arity, {spec, plain}) do
    bang = :"#{name}!"
    {args, defaults} = arguments(module, name, arity)
    given = for {arg, [default]} <- defaults(args, defaults), do: {:\\, [], [arg, default]}
    plain_args = Enum.drop(args, -length(given))

    quote do
      @doc unquote(
             "Like `#{name}/#{arity}`, but returns what there is without `:ok`, and raises " <>
               "`Crema.Error` instead of returning an error."
           )
      @spec unquote(respec(spec, plain, bang))
      def unquote(bang)(unquote_splicing(plain_args ++ given)),
        do: Crema.Bang.unwrap!(unquote(module).unquote(name)(unquote_splicing(args)))
    end
  end

  # The last arguments, each with its default value.
  defp defaults(args, defaults),
    do: args |> Enum.take(-length(defaults)) |> Enum.zip(Enum.map(defaults, &[&1]))

  # The variables in a function's head, or new ones where it has patterns. Of a function with
  # default values the compiler has made one with fewer arguments, which calls it with them.
  defp arguments(module, name, arity) do
    {:v1, :def, _, [{_, args, _, _} | _]} = Module.get_definition(module, {name, arity})
    names = for {arg, index} <- Enum.with_index(args), do: Macro.var(argument(arg, index), nil)
    {names, default_values(module, name, arity)}
  end

  # The atom is made when a function is compiled, of a variable's name in its source.
  defp argument({name, _, context}, _index) when is_atom(name) and is_atom(context),
    do: name |> Atom.to_string() |> String.trim_leading("_") |> String.to_atom()

  defp argument(_pattern, index), do: :"arg#{index}"

  defp default_values(module, name, arity) do
    specified = for {:spec, spec, _} <- Module.get_attribute(module, :spec), do: head(spec)

    fewer =
      Enum.find(0..(arity - 1)//1, fn fewer ->
        {name, fewer} not in specified and Module.defines?(module, {name, fewer}, :def)
      end)

    case fewer && Module.get_definition(module, {name, fewer}) do
      {:v1, :def, _, [{_, _, [], {_, _, called}}]} -> Enum.drop(called, fewer)
      nil -> []
    end
  end

  defp head(spec) do
    {:"::", _, [{name, _, args}, _]} = without_when(spec)
    {name, length(args || [])}
  end

  defp respec(spec, {:"::", meta, [{_, at, args}, returned]}, bang) do
    renamed = {:"::", meta, [{bang, at, args}, values(returned)]}

    case spec do
      {:when, meta, [_, bindings]} -> {:when, meta, [renamed, bindings]}
      _ -> renamed
    end
  end

  # What is left of a type, of which at least `no_return` is.
  defp values(returned) do
    returned
    |> union()
    |> Enum.flat_map(&value/1)
    |> Enum.uniq_by(&Macro.to_string/1)
    |> Enum.reverse()
    |> case do
      [] -> quote(do: no_return)
      [last | before] -> Enum.reduce(before, last, &{:|, [], [&1, &2]})
    end
  end

  defp value({:ok, type}), do: [type]
  defp value({:{}, _, [:ok | types]}), do: [List.to_tuple(types)]
  # `Crema.result`, which is one of `{:ok, _}` and an error.
  defp value({:result, _, args}) when args in [nil, []],
    do: [quote(do: Crema.report()), :skipped]

  defp value(type), do: if(error?(type), do: [], else: [type])

  defp union({:|, _, [one, other]}), do: union(one) ++ union(other)
  defp union(type), do: [type]

  defp error?({name, _, args}) when name in [:error, :result] and args in [nil, []], do: true
  defp error?({{:., _, [_, name]}, _, []}) when name in [:error, :result], do: true
  defp error?(_), do: false
end
