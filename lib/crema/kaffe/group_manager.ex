defmodule Crema.Kaffe.GroupManager do
  @moduledoc """
  `Kaffe.GroupManager`: what a `Crema.Kaffe.GroupMemberSupervisor` is subscribed to.
  """

  @doc """
  Subscribes to these topics as well, and returns those of them that are new. As Kaffe 2 has it with
  the name of the consumer, or without where there is only one.
  """
  @spec subscribe_to_topics({key :: term, [binary]} | [binary]) :: {:ok, [binary]} | Crema.error()
  def subscribe_to_topics({key, topics}) do
    member = member(key)

    with {:ok, before} <- Crema.Control.subscription(member) do
      case Enum.map(topics, &to_string/1) -- before do
        [] -> {:ok, []}
        new -> with(:ok <- Crema.Control.add_topics(member, new), do: {:ok, new})
      end
    end
  end

  def subscribe_to_topics(topics), do: subscribe_to_topics({[], topics})

  @doc "The topics that it is subscribed to."
  @spec list_subscribed_topics(key :: term) :: [binary] | Crema.error()
  def list_subscribed_topics(key \\ []) do
    with {:ok, topics} <- Crema.Control.subscription(member(key)), do: topics
  end

  @doc "The name of the consumer, by which the functions of `Crema` take it as well."
  @spec member(key :: term) :: atom
  def member(none) when none in [nil, []], do: __MODULE__
  def member(key), do: Module.concat(__MODULE__, to_string(key))
end
